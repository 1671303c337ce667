/** Why a stream ended. Only the first reason counts. `status()` has a count of each reason. */
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

/** Describes a close reason. `npm run docs` writes `docs/errors.md` from it. */
export interface CloseReasonDescription {
  /** What has happened. */
  readonly meaning: string;
  /** Whether the client gets the reason in a `closing` event. Otherwise its connection ends without this event. */
  readonly told: boolean;
  /** Whether the client should connect again. An EventSource does so by itself. */
  readonly reconnect: boolean;
}

/** Every close reason. Reasons on the client's side come first. */
export const closeReasonCatalogue: Readonly<Record<CloseReason, CloseReasonDescription>> = {
  "client-gone": { meaning: "The client closed its connection.", told: false, reconnect: true },
  "peer-lost": {
    meaning: "The client's host did not answer for `limits.peerTimeoutMs`.",
    told: false,
    reconnect: true,
  },
  "slow-consumer": {
    meaning: "The client read too slowly, and too much data waited for it.",
    told: false,
    reconnect: true,
  },
  "write-error": { meaning: "Writing to the connection failed.", told: false, reconnect: true },
  "subscribe-failed": {
    meaning: "Subscribing to the channels failed. The client got the error instead of a stream.",
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
    meaning:
      "The client's right to this stream has expired. The application passes this reason to `close()`.",
    told: true,
    reconnect: true,
  },
  revoked: {
    meaning: "A rule of this stream failed, or the application revoked the client's right to it.",
    told: true,
    reconnect: true,
  },
  completed: { meaning: "All channels of the stream were completed.", told: true, reconnect: false },
  broken: {
    meaning:
      "All channels of the stream have ended. The writer of one channel was lost before it completed the channel.",
    told: true,
    reconnect: false,
  },
  drain: { meaning: "The service drains its streams before it stops.", told: true, reconnect: true },
  shutdown: { meaning: "The service is closed.", told: true, reconnect: true },
  limit: {
    meaning:
      "A newer stream of the same key replaced this one, or too much data came before the stream began.",
    told: true,
    reconnect: true,
  },
  app: { meaning: "The application closed the stream.", told: true, reconnect: true },
};
