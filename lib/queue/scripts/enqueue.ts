import type { Script } from "../../redis/script.js";
import { ENQUEUE, FIRE_SCHEDULE } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

/** What became of one task: in line since then, or its id is taken, or another of its key is there. */
export type EnqueueAnswer =
  | { readonly status: "ok"; readonly createdAt: number }
  | { readonly status: "taken" }
  | { readonly status: "same"; readonly id: string };

/** One answer for each task; of all or none, that `taken` id for which none was put in line. */
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

/** `null` where it was not due any more. */
export const fireSchedule: Script<EnqueueAnswer | null> = defineQueueScript(
  "Fire",
  FIRE_SCHEDULE,
  (reply) => {
    const answers = reply[0] === "over" ? [] : (toReply(reply) as readonly EnqueueAnswer[]);
    return answers[0] ?? null;
  },
);
