import { Block } from "./block.js";
import { encodeControl, encodeId, encodeRetry } from "./frame.js";
import type { Beginning } from "./session-history.js";

export interface Greeting extends Beginning {
  readonly sessionId: string;
  readonly channels: readonly string[];
  readonly retryMs: number;
  /** Where the client stands, when there is such a place. */
  readonly id: string | undefined;
  /** What the application says first, encoded. */
  readonly first: string;
}

/**
 * The first words of a stream: when to come back, where the client is, and what it will not get. As one block, since
 * events may wait already: none of them goes out before the gap that it follows.
 */
export function encodeGreeting(greeting: Greeting): Block {
  const { sessionId, channels, retryMs, id, recovered, gaps } = greeting;
  // The place behind a gap is told with the gap: a client that goes before has to be told of it again.
  const last = gaps.at(-1);
  const connected = { sessionId, channels, recovered };
  const opening =
    encodeRetry(retryMs) + encodeControl("connected", connected, last === undefined ? id : undefined);
  return new Block(
    opening +
      greeting.first +
      gaps.map((gap) => (gap === last ? encodeId(id!) + gap.frame : gap.frame)).join(""),
  );
}
