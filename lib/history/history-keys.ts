/** The two keys of a channel's history: where its log stands, and the log itself. */
export interface HistoryKeys {
  readonly position: string;
  readonly log: string;
}

/** Everything of tasks lives in one slot of a cluster: what moves a task writes to its channel's log in the same step. */
const TASK_CHANNEL = /^task_progress:[\w-]{1,128}$/;

/**
 * Both keys live in the cluster slot of the channel itself. Redis hashes what is between the first "{" and the
 * next "}", where there is something; else the whole. So a name without braces is put into a pair, and one that
 * has a hash tag of its own stays bare, behind "::" so that no two names share a key. Names with stray braces
 * share a slot, which need not be that of their channel.
 */
export function historyKeys(keyPrefix: string, channel: string): HistoryKeys {
  const suffix = suffixOf(channel);
  return { position: `${keyPrefix}pos:${suffix}`, log: `${keyPrefix}log:${suffix}` };
}

function suffixOf(channel: string): string {
  if (TASK_CHANNEL.test(channel)) return `{tasks}:${channel}`;
  if (!/[{}]/.test(channel)) return `{${channel}}`;
  return hasHashTag(channel) ? `:${channel}` : `{stray}${channel}`;
}

function hasHashTag(channel: string): boolean {
  const open = channel.indexOf("{");
  const close = channel.indexOf("}", open + 1);
  return open >= 0 && close > open + 1;
}
