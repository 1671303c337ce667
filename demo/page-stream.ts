import type { OutboundMessage, StreamEvent } from "redis-sse";

import { TASK_NEWS } from "./task-news.js";

const TASK_CHANNEL = "task_progress:";

/** What a page hears of from the beginning; the tasks it follows are added to it. */
export function pageChannels(user: string): readonly string[] {
  return [`notifications:${user}`, TASK_NEWS];
}

/** On a stream of many tasks each piece of output has to say whose it is; progress says so by itself. */
export function withTaskId({ channel, event, data }: StreamEvent): OutboundMessage {
  const isOutput = event !== undefined && channel.startsWith(TASK_CHANNEL);
  if (!isOutput) return event === undefined ? { data } : { event, data };
  return { event, data: { taskId: channel.slice(TASK_CHANNEL.length), text: data } };
}
