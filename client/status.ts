/** The state of a connection, and why. */
export type Status =
  /** The client waits for the first answer of the server. */
  | { readonly state: "connecting" }
  /** Events arrive. */
  | { readonly state: "open" }
  /** The connection ended. The client tries again at `retryAt`, in milliseconds since 1970. */
  | { readonly state: "waiting"; readonly reason: string; readonly retryAt: number }
  /** The page is hidden. The client connects again when a person sees it. */
  | { readonly state: "paused"; readonly reason: "hidden" | "page-cache" }
  /** The client does not try again. */
  | { readonly state: "closed"; readonly reason: string };
