import { EncodedFrames, addId, addRetry, encodeControl } from "../sse/frame.js";
import type { Beginning } from "../replay/replay.js";

export interface Opening extends Beginning {
  readonly sessionId: string;
  readonly channels: readonly string[];
  readonly retryMs: number;
  /** If a client receives nothing for much longer than this, its connection is dead. `false`: no heartbeats. */
  readonly heartbeatMs: number | false;
  /** Where the client stands, when there is such a place. */
  readonly id: string | undefined;
  /** What the application says first, encoded. */
  readonly first: string;
}

/**
 * The first words of a stream: when to come back, where the client is, and what it will not get. As one block, since
 * events may wait already: none of them goes out before the gap that it follows.
 */
export function encodeOpening(opening: Opening): EncodedFrames {
  const { sessionId, channels, retryMs, heartbeatMs, id, recovered, gaps } = opening;
  // The place behind the gaps is told with the last of them: a client that goes before has to be told of them again.
  const last = gaps.at(-1);
  const data = { sessionId, channels, recovered, heartbeatMs: heartbeatMs || null };
  const connected = encodeControl("connected", data, last === undefined ? id : undefined);
  return new EncodedFrames(
    addRetry(connected, retryMs) +
      opening.first +
      gaps.map(({ frame }, index) => (index === gaps.length - 1 ? addId(frame, id!) : frame)).join(""),
  );
}
