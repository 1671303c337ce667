import type { CloseReason } from "../close-reasons.js";
import type { TokenSource } from "../replay/session-cursor.js";

/** A right that a stream takes when it starts, and gives back when it ends, such as a ticket. */
export interface StreamLease extends TokenSource {
  /** With the token of its ids, the client proves that it had the stream. */
  readonly token: string;
  /** Takes the right for this stream, before anything is subscribed. Rejects if the client may not have the stream. */
  take(): Promise<void>;
  /** Called when the stream starts to close, also if `take()` was never called. `wasOpen`: the client may have got an id. */
  end(reason: CloseReason, wasOpen: boolean): void;
}

/**
 * The property of a resolver's answer that holds its lease. It is no public field: an application that copies the answer with its
 * properties (`{ ...access }`) copies the lease too. A process can have several copies of this package.
 */
export const LEASE: unique symbol = Symbol.for("redis-sse/lease") as never;

/** Returns the lease of a resolver's answer. */
export function leaseOf(answer: object): StreamLease | undefined {
  return (answer as { readonly [LEASE]?: StreamLease })[LEASE];
}
