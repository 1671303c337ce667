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
  /** Why the stream ended, in one sentence. */
  readonly meaning: string;
  /** Whether the client gets the reason in a `closing` event. Otherwise its connection ends without this event. */
  readonly told: boolean;
  /** Whether the client should connect again. An EventSource does so by itself. */
  readonly reconnect: boolean;
}

/** Describes every close reason. Reasons on the client's side come first. */
export const closeReasonCatalogue: Readonly<Record<CloseReason, CloseReasonDescription>> = {
  "client-gone": { meaning: "The client closed its connection.", told: false, reconnect: true },
  "peer-lost": {
    meaning: "The client is lost: its host acknowledged nothing for `limits.peerTimeoutMs`.",
    told: false,
    reconnect: true,
  },
  "slow-consumer": {
    meaning:
      "The client was too slow: a buffer limit was exceeded, or it did not read all data within `limits.maxStallMs`.",
    told: false,
    reconnect: true,
  },
  "write-error": { meaning: "Writing to the connection failed.", told: false, reconnect: true },
  "subscribe-failed": {
    meaning: "The subscription to the channels failed. The client got the error instead of a stream.",
    told: false,
    reconnect: true,
  },
  "redis-lost": {
    meaning: "The stream's connection to Redis was lost, or the history of a channel could not be read.",
    told: true,
    reconnect: true,
  },
  "max-lifetime": {
    meaning: "The stream reached its maximum age, `limits.maxLifetimeMs`.",
    told: true,
    reconnect: true,
  },
  "authorization-expired": {
    meaning:
      "The client's right to this stream has expired (`expiresAt`), or the application passed this reason to `close()`.",
    told: true,
    reconnect: true,
  },
  revoked: {
    meaning:
      "The application called `revoke()`, or passed this reason to `close()`; `revalidate` found that the client has lost its right; or a Redis ACL rule denied a channel of the open stream.",
    told: true,
    reconnect: true,
  },
  completed: {
    meaning: "All channels of the stream were completed, or the stream reached its last event (`until`).",
    told: true,
    reconnect: false,
  },
  broken: {
    meaning:
      "All channels of the stream have ended, but the writer of one of them was lost or aborted before it completed the channel.",
    told: true,
    reconnect: false,
  },
  drain: { meaning: "The application called `drain()`.", told: true, reconnect: true },
  shutdown: { meaning: "The application closed the service.", told: true, reconnect: true },
  limit: {
    meaning:
      "A newer stream of the same key replaced this one, or events exceeded the buffer limit before the stream was open.",
    told: true,
    reconnect: true,
  },
  app: { meaning: "The application closed the stream.", told: true, reconnect: true },
};
