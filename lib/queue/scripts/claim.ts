import type { Script } from "../../redis/script.js";
import { CLAIM } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

/** A task that a worker took. */
export interface ClaimedTask {
  readonly id: string;
  /** Identifies the attempt. Redis accepts reports only with the token of the newest attempt. */
  readonly token: string;
  readonly attempt: number;
  /** Maximum number of attempts. `null` if the queue's value applies. */
  readonly attempts: number | null;
  readonly createdAt: number;
  readonly startedAt: number;
  readonly priority: number;
  readonly progress: number;
  readonly kind: string;
  /** As JSON. */
  readonly payload: string;
  readonly options: string;
}

export interface DueSchedule {
  readonly name: string;
  readonly due: number;
  readonly content: string;
}

export interface ClaimReply {
  /** Milliseconds until a further task or schedule may be due. */
  readonly waitMs: number;
  /** The time of Redis, in milliseconds. */
  readonly now: number;
  readonly schedules: readonly DueSchedule[];
  readonly tasks: readonly ClaimedTask[];
}

export const claimTasks: Script<ClaimReply> = defineQueueScript(
  "Claim",
  CLAIM,
  ([wait, now, token, count, ...rest]): ClaimReply => {
    const split = 3 * Number(count);
    const schedules: DueSchedule[] = [];
    for (let index = 0; index < split; index += 3) {
      schedules.push({ name: rest[index]!, due: Number(rest[index + 1]), content: rest[index + 2]! });
    }
    const tasks: ClaimedTask[] = [];
    for (let index = split; index < rest.length; index += 2) {
      const head = rest[index]!;
      const isPlain = !head.startsWith("+");
      const more = isPlain ? "" : rest[index + 2]!;
      tasks.push(toTask(token!, Number(now), isPlain ? head : head.slice(1), rest[index + 1]!, more));
      if (!isPlain) index++;
    }
    return { waitMs: Number(wait), now: Number(now), schedules, tasks };
  },
);

/** Reads a task from the reply. `more` is empty for the first attempt of a task without options. */
function toTask(token: string, now: number, head: string, payload: string, more: string): ClaimedTask {
  const [id, createdAt, ...kind] = head.split("\n");
  const [attempt, startedAt, attempts, priority, progress, ...options] = more === "" ? [] : more.split("\n");
  return {
    id: id!,
    token,
    attempt: Number(attempt ?? 1),
    attempts: attempts ? Number(attempts) : null,
    createdAt: Number(createdAt),
    startedAt: Number(startedAt ?? now),
    priority: Number(priority ?? 0),
    progress: Number(progress ?? 0),
    kind: kind.join("\n"),
    payload,
    options: options.join("\n"),
  };
}
