/** The two keys of a channel's history: the hash with the state of the log, and the log. */
export interface HistoryKeys {
  readonly position: string;
  readonly log: string;
}

/** All keys of tasks are in one cluster slot, because a script that changes a task also writes to the log of its channel. */
const TASK_CHANNEL = /^task_progress:[\w-]{1,128}$/;

/**
 * Returns the keys of a channel. Both keys are in one cluster slot, if possible in the slot of the channel.
 *
 * Redis hashes the text between the first "{" and the next "}" (the hash tag), or the whole key if it has no hash tag.
 *
 * - A name without braces is put into braces.
 * - A name with a hash tag stays unchanged, after "::", so that no two names share a key.
 * - Names with other braces share one slot, which can differ from the slot of their channel.
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
