import { Cron } from "croner";

import { ConfigError, sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { assertOptions, optionError, readWholeNumber } from "../validate.js";
import { YEAR_MS } from "./enqueue-options.js";
import type { QueueStore } from "./queue-store.js";
import type { DueSchedule } from "./scripts/claim.js";
import { advanceSchedule, readSchedules, readTime, writeSchedule } from "./scripts/schedules.js";
import { parseJson, toIso } from "./task.js";

/** When a schedule is due. */
export interface ScheduleTimes {
  /** A cron expression: five fields, or six with seconds first. */
  readonly cron?: string;
  /** The IANA time zone of `cron`, such as "Europe/Berlin". Defaults to "UTC". */
  readonly timeZone?: string;
  /** Milliseconds between two due times, instead of `cron`. Due times are multiples of it, counted from 1970. At least 100. */
  readonly everyMs?: number;
}

/**
 * How many tasks a schedule enqueues for due times that passed while no worker looked: one task for all of them ("once"), or
 * one task for each of them ("each", at most the last 100). Defaults to "once".
 */
export type MissedTimes = "once" | "each";

/** A schedule of a queue. */
export interface Schedule extends ScheduleTimes {
  /** The name of the schedule. A queue has one schedule of each name. */
  readonly name: string;
  /** The kind of its tasks. */
  readonly kind: string;
  /** The payload of its tasks. */
  readonly payload: unknown;
  /** What happens with due times that passed while no worker looked. */
  readonly missed: MissedTimes;
  /** The next due time, in ISO 8601. */
  readonly nextAt: string;
}

/** A schedule as it is stored. */
export interface StoredSchedule extends ScheduleTimes {
  readonly kind: string;
  /** As JSON. */
  readonly payload: string;
  /** As `enqueue()` takes them. */
  readonly options: object;
  /** Absent for "once". */
  readonly missed?: MissedTimes;
}

/** Schedules in one script. */
const PAGE = 1_000;
const NAME = /^[\w-]{1,64}$/;

/** The most tasks that `missed: "each"` enqueues at once. */
const MAX_MISSED = 100;

/** Moves a schedule on to its next time and enqueues its task: both, or neither (`false`) if it has been moved on already. */
type Fire = (due: DueSchedule, next: number | null, schedule: StoredSchedule) => Promise<boolean>;

/**
 * Repeated tasks, by the clock of Redis.
 *
 * The first worker that sees a due schedule enqueues its task and moves the schedule on, in one step. So each due time has one
 * task, however many workers see it, and also if a worker dies. For times that pass while no worker looks, see `MissedTimes`.
 */
export class Schedules {
  readonly #store: QueueStore;
  readonly #log: ServiceLog;
  readonly #fire: Fire;

  constructor(store: QueueStore, log: ServiceLog, fire: Fire) {
    this.#store = store;
    this.#log = log;
    this.#fire = fire;
  }

  /**
   * Adds a schedule, or replaces the schedule of that name. If the times are the same, the next due time stays. Rejects with
   * `ConfigError` or a fault of Redis.
   */
  async set(name: string, { kind, payload, options, missed, ...times }: StoredSchedule): Promise<void> {
    assertScheduleName(name);
    const next = nextTime(times, await this.#store.run(readTime, []));
    if (next === null) throw new ConfigError("expected a cron expression that is due some day");
    const content = JSON.stringify({ ...times, kind, payload, options, missed });
    const sameTimes = `${JSON.stringify(times).slice(0, -1)},`;
    await this.#store.run(writeSchedule, [name, content, next, sameTimes]);
  }

  /** Removes a schedule. Resolves to whether it existed. Tasks that it has enqueued stay. Rejects like `set()`. */
  async remove(name: string): Promise<boolean> {
    assertScheduleName(name);
    return this.#store.run(writeSchedule, [name, "", 0, ""]);
  }

  /** All schedules of this version, the next first. Rejects with a fault of Redis. */
  async list(): Promise<readonly Schedule[]> {
    // By name: a schedule that moves on between two pages can appear twice.
    const stored = new Map<string, DueSchedule>();
    for (let from = 0; ; from += PAGE) {
      const page = await this.#store.run(readSchedules, [from, PAGE]);
      for (const schedule of page) stored.set(schedule.name, schedule);
      if (page.length < PAGE) break;
    }
    return Array.from(stored.values()).flatMap(({ name, due, content }) => {
      const schedule = parse(content);
      if (schedule === null) return [];
      const { kind, payload, cron, timeZone, everyMs, missed = "once" } = schedule;
      return {
        name,
        kind,
        payload: parseJson(payload),
        ...(cron !== undefined && { cron, timeZone: timeZone ?? "UTC" }),
        ...(everyMs !== undefined && { everyMs }),
        missed,
        nextAt: toIso(due)!,
      };
    });
  }

  /** Enqueues the tasks of a due schedule, and moves it on. Rejects with a fault of Redis. */
  async fire({ name, due: first, content }: DueSchedule, now: number): Promise<void> {
    const stored = parse(content);
    if (stored === null) {
      this.#log.warnOnce(
        `schedule ${name}`,
        "schedule %s was written by another version, which alone can run it",
        name,
      );
      await this.#store.run(advanceSchedule, [name, first, Math.max(first, now) + 60_000]);
      return;
    }
    const dues = stored.missed === "each" ? [first, ...timesBetween(stored, first, now)] : [first];
    for (const [index, due] of dues.entries()) {
      const next = dues[index + 1] ?? nextTime(stored, Math.max(due, now));
      if (!(await this.#fireAt({ name, due, content }, next, stored))) return;
    }
  }

  /** Resolves to whether this call has moved the schedule on. */
  async #fireAt(schedule: DueSchedule, next: number | null, stored: StoredSchedule): Promise<boolean> {
    try {
      return await this.#fire(schedule, next, stored);
    } catch (error) {
      const fault = sanitize(error);
      if (fault.retryable || fault.code === "CLOSED") throw fault;
      // Its options are refused by now: the next time is another matter, and other schedules wait behind this one.
      this.#log.fault(
        `schedule ${schedule.name}`,
        "schedule %s has enqueued no task at its time: %s. It goes on with the next time.",
        schedule.name,
        fault.message,
      );
      return this.#store.run(advanceSchedule, [schedule.name, schedule.due, next ?? ""]);
    }
  }
}

/** Checks the option `missed`. Throws `ConfigError`. */
export function readMissed(missed: unknown): MissedTimes | undefined {
  if (missed === undefined || missed === "once") return undefined;
  if (missed === "each") return missed;
  throw optionError("missed as once or each", missed);
}

/** Checks when a schedule is due. Throws `ConfigError`. */
export function readTimes(given: ScheduleTimes | string): ScheduleTimes {
  const times = typeof given === "string" ? { cron: given } : given;
  assertOptions("times", times, new Set(["cron", "timeZone", "everyMs"]));
  const { cron, timeZone, everyMs } = times;
  if ((cron === undefined) === (everyMs === undefined)) {
    throw new ConfigError("expected cron or everyMs, and one of them only");
  }
  if (everyMs !== undefined) {
    if (timeZone !== undefined) throw new ConfigError("expected timeZone with cron only");
    return { everyMs: readWholeNumber("everyMs", everyMs, 100, YEAR_MS) };
  }
  if (typeof cron !== "string" || cron.length > 256) {
    throw optionError("cron as an expression of five or six fields", cron);
  }
  const zone = readTimeZone(timeZone);
  try {
    new Cron(cron, { timezone: zone, paused: true }).nextRun();
  } catch {
    throw new ConfigError('expected cron as a valid expression of five or six fields, such as "30 4 * * *"');
  }
  return { cron, timeZone: zone };
}

function readTimeZone(timeZone: unknown = "UTC"): string {
  try {
    if (typeof timeZone === "string")
      return new Intl.DateTimeFormat("en", { timeZone }).resolvedOptions().timeZone;
  } catch {
    // Said below.
  }
  throw new ConfigError('expected timeZone as an IANA name such as "Europe/Berlin"');
}

/** The first due time after `now`, or `null` if none follows. Throws if the cron expression or the time zone is invalid. */
export function nextTime(times: ScheduleTimes, now: number): number | null {
  const { everyMs } = times;
  if (everyMs !== undefined) return (Math.floor(now / everyMs) + 1) * everyMs;
  return cronOf(times).nextRun(new Date(now))?.getTime() ?? null;
}

function cronOf({ cron, timeZone = "UTC" }: ScheduleTimes): Cron {
  // Without this rule croner runs a list or range of hours twice in autumn, and skips it in spring.
  return new Cron(cron!, { timezone: timeZone, paused: true, fixedTimeRule: "no-wildcard" });
}

/** The due times from `due` (excluded) to `now`. If they are too many, the last ones. */
function timesBetween(times: ScheduleTimes, due: number, now: number): readonly number[] {
  const most = MAX_MISSED - 1;
  const found: number[] = [];
  const { everyMs } = times;
  if (everyMs !== undefined) {
    const newest = Math.floor(now / everyMs) * everyMs;
    for (let time = newest; time > due && found.length < most; time -= everyMs) found.unshift(time);
    return found;
  }
  const cron = cronOf(times);
  let time = cron.nextRun(new Date(due));
  while (time !== null && time.getTime() <= now && found.length < most) {
    found.push(time.getTime());
    time = cron.nextRun(time);
  }
  if (time === null || time.getTime() > now) return found;
  const before = cron.nextRun(new Date(now)) ?? new Date(now + 1_000);
  return cron.previousRuns(most, before).map(Number).toReversed();
}

function assertScheduleName(name: unknown): asserts name is string {
  if (typeof name === "string" && NAME.test(name)) return;
  throw new ConfigError("expected the schedule's name as 1 to 64 characters of A-Z a-z 0-9 _ -");
}

function parse(content: string): StoredSchedule | null {
  try {
    const schedule = JSON.parse(content) as StoredSchedule;
    nextTime(schedule, 0);
    return typeof schedule.kind === "string" && typeof schedule.payload === "string" ? schedule : null;
  } catch {
    return null;
  }
}
