import type { OutboundMessage, StreamEvent } from "redis-sse";

import { TASK_NEWS } from "./task-news.js";

const TASK_CHANNEL = "task_progress:";

/** Channels of a new page. The page adds the channels of its tasks later. */
export function pageChannels(user: string): readonly string[] {
  return [`notifications:${user}`, TASK_NEWS];
}

/** Adds the task id to task output, because one stream carries many tasks. Progress events already have the id. */
export function withTaskId({ channel, event, data }: StreamEvent): OutboundMessage {
  const isOutput = event !== undefined && channel.startsWith(TASK_CHANNEL);
  if (!isOutput) return event === undefined ? { data } : { event, data };
  return { event, data: { taskId: channel.slice(TASK_CHANNEL.length), text: data } };
}
