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
  /**
   * IANA time zone of `cron`, such as `"Europe/Berlin"`.
   *
   * @defaultValue "UTC"
   */
  readonly timeZone?: string;
  /**
   * Milliseconds between two due times, instead of `cron`. At least 100.
   *
   * Due times are multiples of this value, counted from 1970. For example, 60,000 is due at each full minute.
   */
  readonly everyMs?: number;
}

/**
 * How many tasks a schedule enqueues for missed due times. A due time is missed if no worker of the queue runs at that
 * time.
 *
 * - `"once"`: one task for all missed due times
 * - `"each"`: one task for each missed due time, at most for the last 100
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
  /** How many tasks it enqueues for missed due times. */
  readonly missed: MissedTimes;
  /** The next due time, in ISO 8601. */
  readonly nextAt: string;
}

/** A schedule as it is stored. */
export interface StoredSchedule extends ScheduleTimes {
  readonly kind: string;
  /** As JSON. */
  readonly payload: string;
  /** The options for `enqueue()`. */
  readonly options: object;
  /** Absent for `"once"`. */
  readonly missed?: MissedTimes;
}

/** Number of schedules that one call of the script reads. */
const PAGE = 1_000;
const NAME = /^[\w-]{1,64}$/;

/** Maximum number of tasks that `missed: "each"` enqueues for missed due times. */
const MAX_MISSED = 100;

/**
 * Advances a schedule to its next time and enqueues its task. If another worker has done so, it does nothing (`false`).
 */
type Fire = (due: DueSchedule, next: number | null, schedule: StoredSchedule) => Promise<boolean>;

/**
 * The schedules of a queue. The clock of Redis decides when they are due.
 *
 * The first worker that sees a due schedule enqueues its task and advances the schedule, in one atomic step. So each
 * due time gets one task, even if several workers see it or a worker crashes.
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
   * Adds a schedule, or replaces the schedule with that name. If the times are the same, the next due time stays the
   * same.
   *
   * Rejects with `ConfigError` or a Redis error.
   */
  async set(name: string, { kind, payload, options, missed, ...times }: StoredSchedule): Promise<void> {
    assertScheduleName(name);
    const next = nextTime(times, await this.#store.run(readTime, []));
    if (next === null)
      throw new ConfigError("The cron expression has no due time in the future. Correct it.");
    const content = JSON.stringify({ ...times, kind, payload, options, missed });
    const sameTimes = `${JSON.stringify(times).slice(0, -1)},`;
    await this.#store.run(writeSchedule, [name, content, next, sameTimes]);
  }

  /** Removes a schedule. Resolves to whether it existed. Rejects like `set()`. */
  async remove(name: string): Promise<boolean> {
    assertScheduleName(name);
    return this.#store.run(writeSchedule, [name, "", 0, ""]);
  }

  /** Lists the schedules that this version can read, the next due first. Rejects with a Redis error. */
  async list(): Promise<readonly Schedule[]> {
    // A schedule that advances between two pages can be on both pages.
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

  /** Enqueues the tasks of a due schedule, and advances it. Rejects with a Redis error. */
  async fire({ name, due: first, content }: DueSchedule, now: number): Promise<void> {
    const stored = parse(content);
    if (stored === null) {
      this.#log.warnOnce(
        `schedule ${name}`,
        "this version cannot read schedule %s, which another version wrote. Only workers of that version can run it.",
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

  /** Resolves to whether this call advanced the schedule. */
  async #fireAt(schedule: DueSchedule, next: number | null, stored: StoredSchedule): Promise<boolean> {
    try {
      return await this.#fire(schedule, next, stored);
    } catch (error) {
      const fault = sanitize(error);
      if (fault.retryable || fault.code === "CLOSED") throw fault;
      // Another attempt at this due time would fail again. So the schedule advances, and does not block other
      // schedules.
      this.#log.fault(
        `schedule ${schedule.name}`,
        "schedule %s enqueued no task for its due time: %s. It continues with its next due time.",
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
  throw optionError('missed as "once" or "each"', missed);
}

/** Checks the due times of a schedule. Throws `ConfigError`. */
export function readTimes(given: ScheduleTimes | string): ScheduleTimes {
  const times = typeof given === "string" ? { cron: given } : given;
  assertOptions("times", times, new Set(["cron", "timeZone", "everyMs"]));
  const { cron, timeZone, everyMs } = times;
  if ((cron === undefined) === (everyMs === undefined)) {
    throw new ConfigError("A schedule needs either cron or everyMs. Pass one of them.");
  }
  if (everyMs !== undefined) {
    if (timeZone !== undefined) {
      throw new ConfigError("timeZone applies only to cron. Remove it, or pass cron instead of everyMs.");
    }
    return { everyMs: readWholeNumber("everyMs", everyMs, 100, YEAR_MS) };
  }
  if (typeof cron !== "string" || cron.length > 256) {
    throw optionError("cron as an expression of five or six fields", cron);
  }
  const zone = readTimeZone(timeZone);
  try {
    new Cron(cron, { timezone: zone, paused: true }).nextRun();
  } catch {
    throw new ConfigError('Invalid cron expression. Use five or six fields, such as "30 4 * * *".');
  }
  return { cron, timeZone: zone };
}

function readTimeZone(timeZone: unknown = "UTC"): string {
  try {
    if (typeof timeZone === "string")
      return new Intl.DateTimeFormat("en", { timeZone }).resolvedOptions().timeZone;
  } catch {
    // An unknown time zone throws the same error as a value of another type.
  }
  throw new ConfigError('Invalid timeZone. Use an IANA name such as "Europe/Berlin".');
}

/**
 * Returns the first due time after `now`, or `null` if none follows. Throws if the cron expression or the time zone is
 * invalid.
 */
export function nextTime(times: ScheduleTimes, now: number): number | null {
  const { everyMs } = times;
  if (everyMs !== undefined) return (Math.floor(now / everyMs) + 1) * everyMs;
  return cronOf(times).nextRun(new Date(now))?.getTime() ?? null;
}

function cronOf({ cron, timeZone = "UTC" }: ScheduleTimes): Cron {
  // When clocks change, croner would otherwise run a list or range of hours twice in autumn, and skip it in spring.
  return new Cron(cron!, { timezone: timeZone, paused: true, fixedTimeRule: "no-wildcard" });
}

/** Returns the due times after `due`, up to `now`. If there are too many, it returns only the last ones. */
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
  throw new ConfigError("Invalid schedule name. Use 1 to 64 of the characters A-Z a-z 0-9 _ -");
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
