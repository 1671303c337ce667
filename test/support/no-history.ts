import type { HistoryPort } from "../../lib/replay/history-port.js";
import { LogHead } from "../../lib/replay/log-head.js";

/** No channel has a history. Any read is an error. */
export const noHistory: HistoryPort = {
  keeps: () => false,
  now: () => 0,
  memoryMs: () => 0,
  beginsSilently: () => false,
  peek: () => Promise.resolve(null),
  forget: () => {},
  read: () => Promise.reject(new Error("no channel has a history")),
  tail: () => Promise.reject(new Error("no channel has a history")),
};

export const noLog = (): LogHead => new LogHead();
