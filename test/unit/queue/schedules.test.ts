import { expect } from "chai";
import * as fc from "fast-check";

import type { QueueStore } from "../../../lib/queue/queue-store.js";
import { nextTime, Schedules, type ScheduleTimes } from "../../../lib/queue/schedules.js";

const MINUTE_MS = 60_000;

/** Time zones, with a day on which their clocks change. */
const CHANGES = [
  ["Europe/Berlin", "2026-03-29", "spring"],
  ["Europe/Berlin", "2026-10-25", "autumn"],
  ["Australia/Lord_Howe", "2026-10-04", "spring"],
  ["Australia/Lord_Howe", "2026-04-05", "autumn"],
  ["America/Santiago", "2026-09-06", "spring"],
  ["Africa/Cairo", "2026-10-30", "autumn"],
] as const;

/** Returns all times of a schedule on a local day, in UTC. */
function timesOn(day: string, timeZone: string, cron: string): readonly string[] {
  const minutes = minutesOf(day, timeZone);
  const times: string[] = [];
  for (let now = minutes[0]!.at - 1; ;) {
    const next = nextTime({ cron, timeZone }, now);
    if (next === null || next > minutes.at(-1)!.at) return times;
    times.push(new Date(next).toISOString().slice(5, 16));
    now = next;
  }
}

interface LocalMinute {
  readonly at: number;
  /** Local time as hours and minutes. */
  readonly local: string;
}

/** Returns each minute of a local day, in order. */
function minutesOf(day: string, timeZone: string): readonly LocalMinute[] {
  const format = new Intl.DateTimeFormat("sv", { timeZone, dateStyle: "short", timeStyle: "short" });
  const first = Date.parse(`${day}T00:00Z`) - 24 * 60 * MINUTE_MS;
  return Array.from({ length: 72 * 60 }, (_, index) => first + index * MINUTE_MS)
    .map((at) => ({ at, text: format.format(at) }))
    .filter(({ text }) => text.startsWith(day))
    .map(({ at, text }) => ({ at, local: text.slice(11) }));
}

/** Returns each local time once, at its first occurrence. A time in a gap comes right after the gap. */
function expectedTimes(
  day: string,
  timeZone: string,
  hours: readonly number[],
  at: readonly number[],
): readonly string[] {
  const minutes = minutesOf(day, timeZone);
  const times = hours.flatMap((hour) =>
    at.map((minute) => {
      const local = `${String(hour).padStart(2, "0")}:${String(minute).padStart(2, "0")}`;
      const same = minutes.find((each) => each.local === local);
      return (same ?? minutes.find((each) => each.local > local))!.at;
    }),
  );
  return [...new Set(times)]
    .toSorted((a, b) => a - b)
    .map((time) => new Date(time).toISOString().slice(5, 16));
}

import { recordingLog } from "../../support/recording-logger.js";

describe("nextTime() on a day when the clocks change", () => {
  for (const [timeZone, day, season] of CHANGES) {
    it(`returns each local time of a list or range of hours once (${timeZone}, ${season})`, () => {
      const some = (max: number): fc.Arbitrary<number[]> =>
        fc.uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength: 4 });
      fc.assert(
        fc.property(some(4), some(59), fc.boolean(), (list, minutes, isRange) => {
          const last = Math.max(...list);
          const hours = isRange ? Array.from({ length: last + 1 }, (_, hour) => hour) : list;
          const times = timesOn(
            day,
            timeZone,
            `${minutes.join(",")} ${isRange ? `0-${last}` : list.join(",")} * * *`,
          );
          expect(times).to.deep.equal(expectedTimes(day, timeZone, hours, minutes));
        }),
        { numRuns: 30 },
      );
    });

    it(`continues a wildcard through all elapsed hours (${timeZone}, ${season})`, () => {
      const count = minutesOf(day, timeZone).length;
      expect(timesOn(day, timeZone, "*/15 * * * *")).to.have.length(count / 15);
    });
  }
});

describe("Schedules.fire() after missed times", () => {
  const DAY_MS = 86_400_000;
  const NOW = Date.parse("2026-10-25T12:34:56Z");

  /**
   * Returns the times for which tasks are added to the queue, and the next time. After `lostAfter` tasks, another
   * worker has advanced the schedule.
   */
  async function fired(
    times: ScheduleTimes & { missed?: string },
    due: number,
    lostAfter = Infinity,
  ): Promise<readonly number[]> {
    const dues: number[] = [];
    let last: number | null = null;
    const schedules = new Schedules({} as QueueStore, recordingLog().log, async (schedule, next) => {
      if (dues.length === lostAfter) return false;
      expect(schedule.due).to.equal(last ?? due);
      dues.push(schedule.due);
      last = next;
      return true;
    });
    const content = JSON.stringify({ ...times, kind: "k", payload: "null", options: {} });
    await schedules.fire({ name: "s", due, content }, NOW);
    return [...dues, last!];
  }

  const today = Date.parse("2026-10-25T00:00:00Z");
  const days = (from: number, to: number): readonly number[] =>
    Array.from({ length: to - from + 1 }, (_, index) => today + (from + index) * DAY_MS);

  for (const times of [{ everyMs: DAY_MS }, { cron: "0 0 * * *" }]) {
    const what = Object.keys(times)[0];

    it(`adds one task for all missed times by default (${what})`, async () => {
      for (const missed of [{}, { missed: "once" }]) {
        const due = today - 3 * DAY_MS;
        expect(await fired({ ...times, ...missed }, due)).to.deep.equal([due, today + DAY_MS]);
      }
    });

    it(`adds one task for each missed time, in order (${what})`, async () => {
      expect(await fired({ ...times, missed: "each" }, today - 3 * DAY_MS)).to.deep.equal(days(-3, 1));
      expect(await fired({ ...times, missed: "each" }, today)).to.deep.equal(days(0, 1));
    });

    it(`adds tasks for at most the last 100 missed times (${what})`, async () => {
      expect(await fired({ ...times, missed: "each" }, today - 99 * DAY_MS)).to.deep.equal(days(-99, 1));
      const due = today - 100 * DAY_MS;
      expect(await fired({ ...times, missed: "each" }, due)).to.deep.equal([due, ...days(-98, 1)]);
      expect(await fired({ ...times, missed: "each" }, 0)).to.deep.equal([0, ...days(-98, 1)]);
    });
  }

  it("stops if another worker has advanced the schedule", async () => {
    const dues = await fired({ everyMs: DAY_MS, missed: "each" }, today - 3 * DAY_MS, 2);
    expect(dues).to.deep.equal(days(-3, -1));
  });
});
