import type { Script } from "../../redis/script.js";
import { ENQUEUE, FIRE_SCHEDULE } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

/** The result for one task: it was enqueued, its id is taken, or its deduplication key belongs to the task `id`. */
export type EnqueueAnswer =
  | { readonly status: "ok"; readonly createdAt: number }
  | { readonly status: "taken" }
  | { readonly status: "same"; readonly id: string };

/** One answer for each task. If no task was enqueued because an id is taken, only that id (`taken`). */
export type EnqueueReply = readonly EnqueueAnswer[] | { readonly taken: string };

function toReply([now, ...answers]: readonly string[]): EnqueueReply {
  if (now === "taken") return { taken: answers[0]! };
  return answers.map((answer) => {
    const [status, value] = answer.split(" ");
    if (status === "same") return { status, id: value! };
    return status === "ok" ? { status, createdAt: Number(value ?? now) } : { status: "taken" };
  });
}

export const enqueueTasks: Script<EnqueueReply> = defineQueueScript("Enqueue", ENQUEUE, toReply);

/** Resolves to `null` if another process has enqueued the task, or the schedule has changed. */
export const fireSchedule: Script<EnqueueAnswer | null> = defineQueueScript(
  "Fire",
  FIRE_SCHEDULE,
  (reply) => {
    const answers = reply[0] === "over" ? [] : (toReply(reply) as readonly EnqueueAnswer[]);
    return answers[0] ?? null;
  },
);
