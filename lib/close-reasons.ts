/** Why a stream ended. The first reason stays; each is counted in `status()`. */
export type CloseReason =
  | "client-gone"
  | "peer-lost"
  | "subscribe-failed"
  | "slow-consumer"
  | "redis-lost"
  | "max-lifetime"
  | "authorization-expired"
  | "revoked"
  | "completed"
  | "broken"
  | "drain"
  | "shutdown"
  | "limit"
  | "write-error"
  | "app";

/** What is to be known of a close reason. `docs/errors.md` is written from it. */
export interface CloseReasonDescription {
  readonly meaning: string;
  /** Whether the client gets the reason in a `closing` event. Otherwise its connection ends without one. */
  readonly told: boolean;
  /** Whether the client should connect again. An EventSource does so by itself. */
  readonly reconnect: boolean;
}

/** Every close reason, the ones of the client first. */
export const closeReasonCatalogue: Readonly<Record<CloseReason, CloseReasonDescription>> = {
  "client-gone": { meaning: "The client closed its connection.", told: false, reconnect: true },
  "peer-lost": {
    meaning: "The client's host did not answer for `limits.peerTimeoutMs`.",
    told: false,
    reconnect: true,
  },
  "slow-consumer": {
    meaning: "The client read too slowly, and too much waited for it.",
    told: false,
    reconnect: true,
  },
  "write-error": { meaning: "Writing to the connection failed.", told: false, reconnect: true },
  "subscribe-failed": {
    meaning: "The stream could not be subscribed. The client got the error instead of a stream.",
    told: false,
    reconnect: true,
  },
  "redis-lost": {
    meaning: "The stream's connection to Redis was lost, or its log could not be read.",
    told: true,
    reconnect: true,
  },
  "max-lifetime": {
    meaning: "The stream has lived for `limits.maxLifetimeMs`.",
    told: true,
    reconnect: true,
  },
  "authorization-expired": {
    meaning: "The right to this stream has run out. The application passes this reason to `close()`.",
    told: true,
    reconnect: true,
  },
  revoked: {
    meaning: "A rule of this stream failed, or the application took the right to it away.",
    told: true,
    reconnect: true,
  },
  completed: { meaning: "All channels of the stream were completed.", told: true, reconnect: false },
  broken: {
    meaning: "All channels of the stream have ended, and the writer of one was lost before its end.",
    told: true,
    reconnect: false,
  },
  drain: { meaning: "The service drains its streams before it stops.", told: true, reconnect: true },
  shutdown: { meaning: "The service is closed.", told: true, reconnect: true },
  limit: {
    meaning: "Another stream of the same key took its place, or too much came before the stream began.",
    told: true,
    reconnect: true,
  },
  app: { meaning: "The application closed the stream.", told: true, reconnect: true },
};
