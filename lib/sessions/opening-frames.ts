import { EncodedFrames, addId, addRetry, encodeControl } from "../sse/frame.js";
import type { Beginning } from "../replay/replay.js";

export interface Opening extends Beginning {
  readonly sessionId: string;
  readonly channels: readonly string[];
  readonly retryMs: number;
  /** If a client receives nothing for much longer than this, its connection is dead. `false` means no heartbeats. */
  readonly heartbeatMs: number | false;
  /** The id of the client's position, if a channel has a history. */
  readonly id: string | undefined;
  /** The first events of the application, encoded. */
  readonly first: string;
}

/**
 * Encodes the start of a stream: `retry:`, `connected`, the first events of the application, and the gaps. It is one block,
 * because events may already be buffered, and each must follow its gap.
 */
export function encodeOpening(opening: Opening): EncodedFrames {
  const { sessionId, channels, retryMs, heartbeatMs, id, recovered, gaps } = opening;
  // The last gap carries the id. A client that leaves earlier does not have the id, and gets the gaps again.
  const last = gaps.at(-1);
  const data = { sessionId, channels, recovered, heartbeatMs: heartbeatMs || null };
  const connected = encodeControl("connected", data, last === undefined ? id : undefined);
  return new EncodedFrames(
    addRetry(connected, retryMs) +
      opening.first +
      gaps.map(({ frame }, index) => (index === gaps.length - 1 ? addId(frame, id!) : frame)).join(""),
  );
}
