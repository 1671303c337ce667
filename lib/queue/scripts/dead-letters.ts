import { RedisSseError } from "../../errors.js";
import type { Script } from "../../redis/script.js";
import { PURGE, REQUEUE } from "../lua/generated.js";
import { defineQueueScript, toFlags } from "./base.js";

export const requeueTasks: Script<readonly boolean[]> = defineQueueScript("Requeue", REQUEUE, (reply) => {
  if (reply[0] !== "released") return toFlags(reply);
  throw new RedisSseError(
    "PAYLOAD_RELEASED",
    `Task "${reply[1]}" cannot run again: its payload was deleted when it ended. Enqueue a new task.`,
  );
});

export const purgeTasks: Script<readonly boolean[]> = defineQueueScript("Purge", PURGE, toFlags);
