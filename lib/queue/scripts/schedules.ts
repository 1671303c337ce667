import type { Script } from "../../redis/script.js";
import { ADVANCE_SCHEDULE, LIST_SCHEDULES, PAUSE, READ_TIME, WRITE_SCHEDULE } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";
import type { DueSchedule } from "./claim.js";

/** Reads the time of Redis, which decides when schedules are due. */
export const readTime: Script<number> = defineQueueScript("Time", READ_TIME, ([now]) => Number(now));

export const writeSchedule: Script<boolean> = defineQueueScript(
  "Schedule",
  WRITE_SCHEDULE,
  ([existed]) => existed === "1",
);

export const advanceSchedule: Script<boolean> = defineQueueScript(
  "Advance",
  ADVANCE_SCHEDULE,
  ([done]) => done === "1",
);

export const readSchedules: Script<readonly DueSchedule[]> = defineQueueScript(
  "Schedules",
  LIST_SCHEDULES,
  ([, ...reply]) => {
    const schedules: DueSchedule[] = [];
    for (let index = 0; index + 2 < reply.length; index += 3) {
      schedules.push({ name: reply[index]!, due: Number(reply[index + 1]), content: reply[index + 2]! });
    }
    return schedules;
  },
);

export const pauseQueue: Script<void> = defineQueueScript("Pause", PAUSE, () => undefined);
