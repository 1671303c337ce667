import { RedisSseError } from "../../errors.js";
import { defineScript, type Script } from "../../redis/script.js";

/** The queue's hash, and what the names of tasks, of the places of their logs and of the logs begin with. */
export type QueueKeys = readonly [queue: string, task: string, position: string, log: string];

/** A script of a queue, whose arguments begin with what all of them are told. */
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
