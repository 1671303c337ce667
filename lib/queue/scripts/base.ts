import { RedisSseError } from "../../errors.js";
import { defineScript, type Script } from "../../redis/script.js";

/**
 * The keys of each script: the queue's hash, and three prefixes of keys. These are the prefixes for tasks, for the
 * positions of their logs, and for their logs.
 */
export type QueueKeys = readonly [queue: string, task: string, position: string, log: string];

/** Defines a script of a queue. The first arguments are the same for all scripts. See `includes/base.lua`. */
export function defineQueueScript<Result>(
  name: string,
  lua: string,
  parse: (reply: readonly string[]) => Result,
): Script<Result> {
  return defineScript(name, lua, 4, (reply) => {
    const lines = Array.isArray(reply) ? reply.map(String) : [String(reply)];
    if (lines[0] === "!") {
      throw new RedisSseError("QUEUE_UNREADABLE", "A key of this queue in Redis has the wrong type.");
    }
    return parse(lines);
  });
}

export const toFlags = (reply: readonly string[]): readonly boolean[] => reply.map((flag) => flag === "1");
