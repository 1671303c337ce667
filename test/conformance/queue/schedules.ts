import { expect } from "chai";
import { z } from "zod";

import type { ScheduleOptions, ScheduleTimes } from "../../../lib/index.js";
import { eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf, untilIdle } from "../../support/service.js";

/** Tests schedules, which enqueue a task repeatedly. */
export function describeSchedules(rig: QueueRig): void {
  describe("schedule", () => {
    const enqueued = async (): Promise<number> => (await rig.queue.counts()).totals.enqueued;

    it("enqueues its task once at each time (everyMs)", async () => {
      await rig.queue.schedule("tick", { everyMs: 100 }, "tick", { n: 1 }, { priority: 4 });
      const tasks: unknown[] = [];
      const ids: string[] = [];
      rig.queue.worker(({ task }) => {
        tasks.push([task.kind, task.payload, task.priority]);
        ids.push(task.id);
      });
      await eventually(() => expect(tasks.length).to.be.at.least(3));
      for (const task of tasks) expect(task).to.deep.equal(["tick", { n: 1 }, 4]);
      expect(new Set(ids).size).to.equal(ids.length);
      for (const id of ids) expect(id).to.match(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    });

    it("fires once for each time, even if several processes see it at the same time", async () => {
      await rig.queue.schedule("tick", { everyMs: 3_600_000 }, "tick", null);
      const begun: string[] = [];
      const services = await Promise.all(Array.from({ length: 2 }, () => rig.service()));
      for (const sse of [rig.sse, ...services]) {
        sse.queue(rig.name).worker(({ task }) => void begun.push(task.id), { pollMs: 100 });
      }
      for (let round = 1; round <= 10; round++) {
        await rig.expire("due", "tick");
        await eventually(() => expect(begun).to.have.length(round));
      }
      for (const sse of services) await untilIdle(sse);
      expect(begun).to.have.length(10);
      expect(await enqueued()).to.equal(10);
    });

    it("enqueues one task for all missed times by default", async () => {
      await rig.queue.schedule("tick", { everyMs: 3_600_000 }, "tick", null);
      await rig.expire("due", "tick"); // half a century ago
      rig.queue.worker(() => {});
      await eventually(async () => expect((await rig.queue.counts()).succeeded).to.equal(1));
      await untilIdle(rig.sse);
      expect(await enqueued()).to.equal(1);
      const [schedule] = await rig.queue.schedules();
      expect(Date.parse(schedule!.nextAt)).to.be.within(Date.now(), Date.now() + 3_600_000);
    });

    it('enqueues one task for each missed time, at most 100, with missed: "each"', async () => {
      await rig.queue.schedule("tick", { everyMs: 3_600_000 }, "tick", 1, { missed: "each", priority: 2 });
      await rig.expire("due", "tick"); // half a century ago
      const worker = rig.queue.worker(({ task }) => [task.payload, task.priority], { concurrency: 10 });
      await eventually(async () => expect((await rig.queue.counts()).succeeded).to.equal(100));
      await untilIdle(rig.sse);
      await worker.stop();
      expect(await enqueued()).to.equal(100);
      const { tasks } = await rig.queue.list("succeeded");
      for (const { result } of tasks) expect(result).to.deep.equal([1, 2]);
      const [schedule] = await rig.queue.schedules();
      expect(Date.parse(schedule!.nextAt)).to.be.within(Date.now(), Date.now() + 3_600_000);
    });

    it("enqueues its tasks and tasks of lost workers while all workers are busy", async () => {
      await rig.queue.enqueue("lost", null, { id: "lost" });
      await rig.takeAndVanish();
      await rig.queue.enqueue("long", null);
      const begun: string[] = [];
      rig.queue.worker(
        (context) => {
          begun.push(context.task.kind);
          return rig.hang(context);
        },
        { concurrency: 1, pollMs: 20 },
      );
      await eventually(() => expect(begun).to.deep.equal(["long"]));
      await rig.queue.schedule("tick", { everyMs: 100 }, "tick", null, { missed: "each" });
      await rig.expire("leases", "lost");
      await eventually(async () => expect(await enqueued()).to.be.at.least(4));
      await eventually(async () => expect((await rig.queue.get("lost"))!.status).to.equal("queued"));
      expect(begun).to.deep.equal(["long"]);
    });

    it("enqueues its task at each time while all workers are busy, also with a long pollMs", async () => {
      await rig.queue.schedule("tick", { everyMs: 200 }, "tick", null, { missed: "each" });
      await rig.queue.enqueue("long", null);
      rig.queue.worker(rig.hang, { concurrency: 1 });
      await eventually(async () => expect(await enqueued()).to.be.at.least(3), 4_000);
    });

    it("uses the time zone of a cron expression", async () => {
      await rig.queue.schedule("utc", "30 4 * * *", "k", null);
      await rig.queue.schedule("kolkata", { cron: "30 4 * * *", timeZone: "Asia/Kolkata" }, "k", null);
      await rig.queue.schedule("seconds", "*/10 * * * * *", "k", null);
      const all = await rig.queue.schedules();
      const at = (name: string): string => all.find((schedule) => schedule.name === name)!.nextAt;
      expect(at("utc")).to.match(/T04:30:00\.000Z$/);
      expect(at("kolkata")).to.match(/T23:00:00\.000Z$/);
      expect(at("seconds")).to.match(/T..:..:.0\.000Z$/);
      expect(Date.parse(at("seconds")) - Date.now()).to.be.within(-1_000, 10_000);
      expect(all.map(({ name }) => name)[0], "the next schedule first").to.equal("seconds");
    });

    it("is listed with its task", async () => {
      expect(await rig.queue.schedules()).to.deep.equal([]);
      await rig.queue.schedule("a", "0 3 * * *", "report", [1]);
      await rig.queue.schedule("b", { everyMs: 60_000 }, "sweep", null, { missed: "each" });
      const schedules = await rig.queue.schedules();
      expect(schedules.toSorted((x, y) => x.name.localeCompare(y.name))).to.deep.equal([
        {
          name: "a",
          kind: "report",
          payload: [1],
          cron: "0 3 * * *",
          timeZone: "UTC",
          missed: "once",
          nextAt: schedules.find(({ name }) => name === "a")!.nextAt,
        },
        {
          name: "b",
          kind: "sweep",
          payload: null,
          everyMs: 60_000,
          missed: "each",
          nextAt: schedules.find(({ name }) => name === "b")!.nextAt,
        },
      ]);
    });

    it("keeps its next time if it is set again with the same times, as at each start of a process", async () => {
      await rig.queue.schedule("nightly", "0 3 * * *", "old", 1);
      await rig.expire("due", "nightly"); // half a century ago
      await rig.queue.schedule("nightly", { cron: "0 3 * * *", timeZone: "UTC" }, "new", 2);
      rig.queue.worker(() => {});
      await eventually(async () => {
        const { tasks } = await rig.queue.list("succeeded");
        expect(tasks.map(({ kind, payload }) => [kind, payload])).to.deep.equal([["new", 2]]);
      });
      expect(await enqueued()).to.equal(1);
      const [after] = await rig.queue.schedules();
      expect(after!.nextAt).to.match(/T03:00:00\.000Z$/);
      expect(Date.parse(after!.nextAt)).to.be.greaterThan(Date.now());
    });

    it("replaces a schedule of the same name, uses its own times, and can be removed", async () => {
      await rig.queue.schedule("tick", { everyMs: 60_000 }, "old", null);
      await rig.expire("due", "tick");
      await rig.queue.schedule("tick", { everyMs: 120_000 }, "new", null);
      expect(Date.parse((await rig.queue.schedules())[0]!.nextAt)).to.be.greaterThan(Date.now() - 1_000);
      expect((await rig.queue.schedules()).map(({ kind, everyMs }) => [kind, everyMs])).to.deep.equal([
        ["new", 120_000],
      ]);
      expect(await rig.queue.unschedule("tick")).to.equal(true);
      expect(await rig.queue.unschedule("tick")).to.equal(false);
      expect(await rig.queue.schedules()).to.deep.equal([]);
      expect(await rig.members("due")).to.deep.equal([]);
    });

    it("wakes an idle worker when it is set", async () => {
      let begun = 0;
      rig.queue.worker(() => void begun++, { pollMs: 5_000 });
      await untilIdle(rig.sse);
      await rig.queue.schedule("tick", { everyMs: 200 }, "tick", null);
      await eventually(() => expect(begun).to.be.at.least(2), 3_000);
    });

    it("applies a schema to its payload only once", async () => {
      const queue = (await rig.service()).queue("typed", {
        schemas: { sum: z.object({ n: z.string().transform(Number) }) },
      });
      await queue.schedule("sum", { everyMs: 100 }, "sum" as never, { n: "42" } as never);
      const payloads: unknown[] = [];
      queue.worker(({ task }: { task: { payload: unknown } }) => void payloads.push(task.payload));
      await eventually(() => expect(payloads).to.have.length.at.least(1));
      expect(payloads[0]).to.deep.equal({ n: 42 });
      expectFault(
        await faultOf(queue.schedule("bad", { everyMs: 100 }, "sum" as never, { n: 1 } as never)),
        "INVALID_TASK",
      );
    });

    it("does not stop other schedules if its task cannot be enqueued", async () => {
      await rig.queue.schedule("bad", { everyMs: 3_600_000 }, "bad", "x".repeat(2_000));
      await rig.raw.hset(`sse:queue:{tasks}:${rig.name}:schedules`, "worse", "not of ours");
      await rig.raw.hset(
        `sse:queue:{tasks}:${rig.name}:schedules`,
        "worst",
        JSON.stringify({ kind: "k", payload: "1", options: { unheardOf: 1 }, cron: "not a cron" }),
      );
      await rig.queue.schedule("good", { everyMs: 3_600_000 }, "good", null);
      await rig.expire("due", "worst", "worse", "bad", "good");
      const queue = (await rig.service({ limits: { maxEventBytes: 1_024 } })).queue(rig.name);
      queue.worker(() => {}, { pollMs: 5_000 });
      await eventually(async () =>
        expect((await rig.queue.list("succeeded")).tasks.map(({ kind }) => kind)).to.include("good"),
      );
      await eventually(async () => {
        const due = await rig.raw.eval(
          "return redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[1])",
          1,
          rig.key("due"),
          Date.now(),
        );
        expect(Number(due), "overdue").to.equal(0);
      });
    });

    it("is rejected if its name, times, options or task are invalid", async () => {
      const every = { everyMs: 1_000 };
      const cases: [unknown, unknown, unknown, unknown, unknown, string, RegExp][] = [];
      for (const name of ["", "a b", "{a}", "x".repeat(65), 7, undefined]) {
        cases.push([name, every, "k", null, undefined, "CONFIG", /schedule name/]);
      }
      for (const [times, message] of [
        [{}, /either cron or everyMs/],
        [{ everyMs: 99 }, /expected everyMs/],
        [{ everyMs: "1000" }, /expected everyMs/],
        [{ everyMs: 366 * 24 * 3_600_000 }, /expected everyMs/],
        [{ everyMs: 1_000, cron: "* * * * *" }, /either cron or everyMs/],
        [{ everyMs: 1_000, timeZone: "UTC" }, /timeZone applies only to cron/],
        [{ cron: "* * * * *", timeZone: "Mars/Olympus" }, /Invalid timeZone/],
        [{ cron: "" }, /Invalid cron/],
        ["99 * * * *", /Invalid cron/],
        ["x".repeat(300), /expected cron/],
        ["0 0 31 2 *", /no due time/],
        [null, /expected times/],
        [[], /expected times/],
      ] as const) {
        cases.push(["s", times, "k", null, undefined, "CONFIG", message]);
      }
      for (const [options, message] of [
        [{ id: "a" }, /option id/],
        [{ delayMs: 1 }, /option delayMs/],
        [{ deduplicate: "a" }, /option deduplicate/],
        [{ priority: 101 }, /expected priority/],
        [{ unknown: 1 }, /expected the task's options/],
        [{ missed: "all" }, /expected missed/],
        [null, /expected schedule\(\)/],
      ] as const) {
        cases.push(["s", every, "k", null, options, "CONFIG", message]);
      }
      cases.push(["s", every, "", null, undefined, "INVALID_TASK", /kind/]);
      cases.push(["s", every, "k", undefined, undefined, "UNSERIALIZABLE", /payload/]);
      cases.push(["s", every, "k", "x".repeat(256 * 1024), undefined, "TASK_TOO_LARGE", /payload/]);
      for (const [name, times, kind, payload, options, code, message] of cases) {
        const fault = await faultOf(
          rig.queue.schedule(
            name as string,
            times as ScheduleTimes,
            kind as string,
            payload,
            options as ScheduleOptions,
          ),
        );
        expectFault(fault, code, JSON.stringify([name, times, options])?.slice(0, 80));
        expect((fault as Error).message).to.match(message);
      }
      expectFault(await faultOf(rig.queue.unschedule("a b")), "CONFIG");
      expect(await rig.queue.schedules()).to.deep.equal([]);
    });
  });
}
