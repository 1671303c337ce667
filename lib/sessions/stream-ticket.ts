import type { CloseReason } from "../catalogue/close-reasons.js";
import type { TokenSource } from "../replay/session-cursor.js";

/** The stream that takes a ticket. */
export interface TicketedStream {
  readonly key: string | undefined;
  readonly channels: Iterable<string>;
}

/** The ticket of one stream. The stream takes it when it starts, and releases it when it ends. */
export interface StreamTicket extends TokenSource {
  /** The token in each id of the stream. It proves that the client had this stream before. */
  readonly token: string;
  /** When the ticket was read, as `monotonicNow()`. A revocation after that ends the stream. */
  readonly decidedAt: number;
  /** Takes the ticket for this stream, before anything is subscribed. Rejects if the client may not have the stream. */
  take(stream: TicketedStream): Promise<void>;
  /** Called when the stream starts to close, also if `take()` was never called. `wasOpen`: the client may have got an id. */
  end(reason: CloseReason, wasOpen: boolean): void;
}

/**
 * The property of a resolver's answer that holds its ticket. It is a symbol, so it is no public property, but `{ ...access }`
 * copies it too. `Symbol.for()` gives all copies of this package in a process the same symbol.
 */
export const STREAM_TICKET: unique symbol = Symbol.for("redis-sse/ticket") as never;

/** Returns the ticket of a resolver's answer. */
export function ticketOf(answer: object): StreamTicket | undefined {
  return (answer as { readonly [STREAM_TICKET]?: StreamTicket })[STREAM_TICKET];
}
