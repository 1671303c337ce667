import { useSyncExternalStore } from "react";

import type { Message, Source, Status, StreamUrl } from "../client/index.js";
import { useFollowedStream, type StreamReducer } from "./follow-stream.js";
import { appendText } from "./text.js";
import { CONNECTING, useLatest, WITHOUT_URL, type StreamFollowOptions } from "./stream-options.js";

/** What `useTextStream()` returns. */
export interface TextStreamResult {
  /** The text so far, at most its last 4,194,304 characters. */
  readonly text: string;
  /** Whether the text is complete. */
  readonly isDone: boolean;
  /** The state of the connection. Without a URL, it is "closed" with the reason "no-url". */
  readonly status: Status;
  /**
   * Why the text is not complete and will not be: the reason of a gap, or the reason for which the stream is closed, such as
   * "broken" or "forbidden". `null` if nothing is wrong.
   */
  readonly error: string | null;
}

const EMPTY: TextStreamResult = { text: "", isDone: false, status: CONNECTING, error: null };

/** The text of an event as the server sent it: JSON could read a piece such as "12" as a number. */
function append(state: TextStreamResult, { text }: Message): TextStreamResult {
  return { ...state, text: appendText(state.text, text) };
}

export const textReducer: StreamReducer<TextStreamResult> = {
  initial: EMPTY,
  withoutUrl: { ...EMPTY, status: WITHOUT_URL },
  events: { chunk: append, message: append },
  onStatus(state, status) {
    if (status.state !== "closed") return { ...state, status };
    const isDone = status.reason === "completed" && state.error === null;
    const error = isDone ? null : (state.error ?? status.reason);
    return { ...state, status, isDone, error };
  },
  onLoss: (state, reason) => ({ ...state, text: "", error: reason }),
};

/**
 * Shows the growing text of a stream, for example the answer of a language model: the joined data of its `chunk` and `message`
 * events.
 *
 * If events are lost, the text starts again from its beginning. If the server no longer has them, the text is the part after
 * them, and `error` has the reason of the gap.
 */
export function useTextStream(
  url: StreamUrl | Source | null,
  options: StreamFollowOptions = {},
): TextStreamResult {
  const store = useFollowedStream(url, options, useLatest(options), textReducer);
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot);
}
