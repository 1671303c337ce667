/** The state of a connection, and why. */
export type Status =
  | {
      /** The client waits for the first event of the server. */
      readonly state: "connecting";
    }
  | {
      /** Events arrive. */
      readonly state: "open";
    }
  | {
      /** The connection ended, and the client tries again. */
      readonly state: "waiting";
      /** Why the connection ended, for example "network", "http-502" or "REDIS_UNAVAILABLE". */
      readonly reason: string;
      /** When the client tries again, in milliseconds since 1970. */
      readonly retryAt: number;
      /** For the reasons "url", "token" and "network": the error of your function, or of `fetch`. */
      readonly error?: unknown;
    }
  | {
      /** The client connects again when a person sees the page. */
      readonly state: "paused";
      /** "hidden" with `pauseHiddenAfterMs`; "page-cache" if the browser keeps the page to show it again later. */
      readonly reason: "hidden" | "page-cache";
    }
  | {
      /** The client does not try again. */
      readonly state: "closed";
      /** "app" after `close()`, else for example "completed", "unauthorized" or "http-404". */
      readonly reason: string;
    };
