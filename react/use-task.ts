import { useCallback, useSyncExternalStore } from "react";

import type { Source, Status, StreamUrl } from "../client/index.js";
import { useFollowedStream } from "./follow-stream.js";
import { requestCancel } from "./request-cancel.js";
import { useLatest, type StreamFollowOptions } from "./stream-options.js";
import { answered, taskReducer, type TaskStatus } from "./task-state.js";

/** Options of `useTask()`. */
export interface UseTaskOptions extends StreamFollowOptions {
  /** The URL of a route with `taskCancel()`. `cancel()` sends a POST to it. */
  readonly cancelUrl?: string | URL | undefined;
}

/** What `useTask()` returns. */
export interface TaskResult {
  /** The state of the task. `null` before the server has sent it. */
  readonly status: TaskStatus | null;
  /** Progress in percent, from 0 to 100. */
  readonly progress: number;
  /** The newest message of the task. */
  readonly message: string;
  /** The output of the present or last attempt, so far, at most its last 4,194,304 characters. */
  readonly output: string;
  /**
   * The message of a failed task, or why something is missing: the stream was refused ("forbidden", "http-404"), `cancel()` failed
   * ("http-503", "network"), or a part of the output is lost (the reason of the gap). `null` if nothing is wrong.
   */
  readonly error: string | null;
  /**
   * Cancels the task. `status` and `error` show the result. Without `cancelUrl` it rejects. The function stays
   * the same while the stream stays open.
   */
  readonly cancel: () => Promise<void>;
  /** The state of the connection. Without a URL, it is "closed" with the reason "no-url". */
  readonly connection: Status;
}

/** Shows a task and its output. `url` is a route with `taskStream()`. */
export function useTask(url: StreamUrl | Source | null, options: UseTaskOptions = {}): TaskResult {
  const latest = useLatest(options);
  const store = useFollowedStream(url, options, latest, taskReducer);
  const { seq: _, ...state } = useSyncExternalStore(
    store.subscribe,
    store.getSnapshot,
    store.getServerSnapshot,
  );
  const cancel = useCallback(async () => {
    const { cancelUrl } = latest.current;
    if (cancelUrl === undefined) throw new Error("Set the option cancelUrl of useTask() to cancel the task.");
    const answer = await requestCancel(cancelUrl, latest.current);
    store.update((known) => answered(known, answer));
  }, [store, latest]);
  return { ...state, cancel };
}
