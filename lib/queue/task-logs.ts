import type { HistoryPort } from "../replay/history-port.js";
import { taskOfChannel } from "./task.js";

/**
 * The logs as streams see them, where the log of a task's channel is made when somebody first asks for it: until then
 * the task itself is all there is. `watch` answers whether there was anything to be written down.
 */
export function withTaskLogs(reader: HistoryPort, watch: (taskId: string) => Promise<boolean>): HistoryPort {
  return {
    keeps: (channel) => reader.keeps(channel),
    now: () => reader.now(),
    // The log of a task is forgotten with its task, whenever that is.
    memoryMs: (channel) => (taskOfChannel(channel) === null ? reader.memoryMs(channel) : 0),
    beginsSilently: (channel) => taskOfChannel(channel) !== null,
    read: (channel, after, known) => reader.read(channel, after, known),
    peek: (channel, after, top) => reader.peek(channel, after, top),
    forget: (channel) => reader.forget(channel),
    tail: async (channel, since) => {
      const id = taskOfChannel(channel);
      if (id === null) return reader.tail(channel, since);
      // Both go out at once; nearly always there is nothing to be made.
      const [found, isNew] = await Promise.all([reader.tail(channel, since), watch(id)]);
      return isNew ? reader.tail(channel, reader.now()) : found;
    },
  };
}
