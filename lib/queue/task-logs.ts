import type { HistoryPort } from "../replay/history-port.js";
import { taskOfChannel } from "./task.js";

/**
 * Wraps the reader of histories, so that the history of a task's channel is written when a client first watches it.
 *
 * Before that, only the task itself is stored. `watch` writes the history, and resolves to whether it wrote one.
 */
export function withTaskLogs(reader: HistoryPort, watch: (taskId: string) => Promise<boolean>): HistoryPort {
  return {
    keeps: (channel) => reader.keeps(channel),
    now: () => reader.now(),
    // The history of a task is deleted with the task, and this can happen at any time.
    memoryMs: (channel) => (taskOfChannel(channel) === null ? reader.memoryMs(channel) : 0),
    beginsSilently: (channel) => taskOfChannel(channel) !== null,
    read: (channel, after, known) => reader.read(channel, after, known),
    peek: (channel, after, top) => reader.peek(channel, after, top),
    forget: (channel) => reader.forget(channel),
    tail: async (channel, since, maxAgeMs) => {
      const id = taskOfChannel(channel);
      if (id === null) return reader.tail(channel, since, maxAgeMs);
      // Both calls are sent together to save a round trip. In most cases the history exists already.
      const [found, isNew] = await Promise.all([reader.tail(channel, since), watch(id)]);
      return isNew ? reader.tail(channel, reader.now()) : found;
    },
  };
}
