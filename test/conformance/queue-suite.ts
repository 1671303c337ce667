import { expect } from "chai";
import type { Redis } from "ioredis";
import { stub } from "sinon";

import {
  ConfigError,
  RedisSseError,
  TaskFailure,
  type Clock,
  type QueueOptions,
  type QueueService,
  type RedisSse,
  type TaskContext,
  type TaskHandler,
  type TaskProgress,
  type Worker,
} from "../../lib/index.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import {
  circular,
  expectFault,
  faultOf,
  listen,
  type MakeService,
  rawClient,
  thrower,
  untilIdle,
} from "../support/service.js";

type Gate = ReturnType<typeof deferred<void>>;

let queues = 0;

/** What the queue and its workers hold, on any server. */
export function describeQueue(name: string, makeService: MakeService): void {
  describe(`the queue on ${name}`, () => {
    let queueName: string;
    let sse: RedisSse;
    let queue: QueueService;
    let raw: Redis;
    /** Handlers that hang wait for it: the test is over. */
    let over: Gate;
    let cleanUp: (() => Promise<unknown>)[];

    const hang: TaskHandler = () => over.promise;

    async function service(options?: { clock?: Clock }): Promise<RedisSse> {
      const made = await makeService(options);
      cleanUp.push(() => made.stop());
      return made.sse;
    }

    async function hear(channel: string): ReturnType<typeof listen> {
      const heard = await listen(sse, channel);
      cleanUp.unshift(() => heard.stop());
      return heard;
    }

    const taskKey = (id: string): string => `sse:queue:{${queueName}}:task:${id}`;
    const readyKey = (): string => `sse:queue:{${queueName}}:ready`;
    const leasesKey = (): string => `sse:queue:{${queueName}}:leases`;

    // Within a script: the mock fails on some replies of sorted sets.
    async function leaseCount(): Promise<unknown> {
      return raw.eval("return redis.call('ZCARD', KEYS[1])", 1, leasesKey());
    }

    async function statusOf(id: string): Promise<string | undefined> {
      return (await queue.get(id))?.status;
    }

    /** A worker that takes the next task and is not heard of again: time stands still for it. */
    async function takeAndVanish(
      leaseMs: number,
      options?: QueueOptions,
    ): Promise<{
      clock: FakeClock;
      context: TaskContext;
      worker: Worker;
      end(result: unknown): void;
    }> {
      const clock = new FakeClock();
      const lost = await service({ clock });
      const taken = deferred<TaskContext>();
      const end = deferred<unknown>();
      const worker = lost.queue(queueName, options).worker(
        (context) => {
          taken.resolve(context);
          return Promise.race([end.promise, over.promise]);
        },
        { leaseMs, pollMs: 1_000 },
      );
      let context: TaskContext | undefined;
      void taken.promise.then((value) => (context = value));
      await eventually(() => {
        if (context === undefined) clock.advance(1_000); // it looks again
        expect(context).to.not.equal(undefined);
      });
      return { clock, context: context!, worker, end: end.resolve };
    }

    beforeEach(async () => {
      queueName = `suite-${queues++}`;
      cleanUp = [];
      over = deferred();
      sse = await service();
      queue = sse.queue(queueName);
      raw = rawClient(sse);
      cleanUp.unshift(() => raw.quit());
    });

    afterEach(async () => {
      over.resolve();
      for (const step of cleanUp) await step();
    });

    describe("a task", () => {
      it("is a hash, and an id at the end of the ready list", async () => {
        await queue.enqueue("first", 1, { id: "first" });
        await queue.enqueue("report", { pages: [1, 2] }, { id: "second" });
        const hash = await raw.hgetall(taskKey("second"));
        expect(hash).to.include({
          id: "second",
          kind: "report",
          payload: '{"pages":[1,2]}',
          status: "queued",
        });
        expect(await raw.lrange(readyKey(), 0, -1)).to.deep.equal(["second", "first"]);
      });

      it("is answered as it will be read", async () => {
        const task = await queue.enqueue("report", { pages: [1, 2] });
        expect(task).to.include({ kind: "report", status: "queued", progress: 0, message: "", attempt: 0 });
        expect(task).to.include({ startedAt: null, finishedAt: null, result: null });
        expect(task.payload).to.deep.equal({ pages: [1, 2] });
        expect(await queue.get(task.id)).to.deep.equal(task);
      });

      it("has an id of its own, where none is given", async () => {
        const [one, two] = [await queue.enqueue("kind", null), await queue.enqueue("kind", null)];
        expect(one.id).to.match(/^[\w-]{1,128}$/);
        expect(two.id).to.not.equal(one.id);
      });

      it("of an unknown id is null", async () => {
        expect(await queue.get("nobody")).to.equal(null);
      });

      it("of another queue is not read", async () => {
        const { id } = await queue.enqueue("kind", null);
        expect(await sse.queue(`${queueName}-other`).get(id)).to.equal(null);
      });

      it("carries any JSON, a __proto__ key as data", async () => {
        const payload: unknown = JSON.parse(
          '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"text":"é\\u2028\\r\\n\\ud83d\\ude00","list":[null,true,-0.5,1e300],"":""}',
        );
        const { id } = await queue.enqueue("kind", payload);
        const read = (await queue.get(id))!.payload as object;
        expect(Object.keys(read)).to.deep.equal(Object.keys(payload as object));
        expect(JSON.stringify(read)).to.equal(JSON.stringify(payload));
        expect(({} as Record<string, unknown>)["polluted"]).to.equal(undefined);

        const received = deferred<unknown>();
        queue.worker(({ task }) => received.resolve(task.payload));
        expect(JSON.stringify(await received.promise)).to.equal(JSON.stringify(payload));
      });

      it("is queued, then running, then succeeded with its result", async () => {
        const { id, createdAt } = await queue.enqueue("kind", null);
        const started = deferred();
        const release = deferred();
        queue.worker(async ({ progress }) => {
          await progress(40, "reading");
          started.resolve();
          await release.promise;
          return { pages: 3 };
        });
        await started.promise;
        const running = await queue.get(id);
        expect(running).to.include({
          status: "running",
          progress: 40,
          message: "reading",
          attempt: 1,
          createdAt,
        });
        expect(running!.startedAt).to.be.a("string");
        expect(running).to.include({ finishedAt: null, result: null });
        release.resolve();
        await eventually(async () => expect(await statusOf(id)).to.equal("succeeded"));
        const done = await queue.get(id);
        expect(done).to.include({ progress: 100, message: "done", attempt: 1 });
        expect(done!.result).to.deep.equal({ pages: 3 });
        expect(done!.finishedAt).to.be.a("string");
      });

      it("whose handler returns nothing has the result null", async () => {
        const { id } = await queue.enqueue("kind", null);
        queue.worker(() => {});
        await eventually(async () => expect(await statusOf(id)).to.equal("succeeded"));
        expect((await queue.get(id))!.result).to.equal(null);
      });

      it("fails with the message of a TaskFailure, and at the progress it had", async () => {
        const { id } = await queue.enqueue("kind", null);
        queue.worker(async ({ progress }) => {
          await progress(30);
          throw new TaskFailure("page 3 is missing");
        });
        await eventually(async () => expect(await statusOf(id)).to.equal("failed"));
        expect(await queue.get(id)).to.include({ message: "page 3 is missing", progress: 30, result: null });
      });

      it("fails without a word of any other error", async () => {
        const heard = await hear("task_progress:secretive");
        await queue.enqueue("kind", null, { id: "secretive" });
        queue.worker(() => {
          throw new Error("connect ECONNREFUSED db.internal user=root password=hunter2");
        });
        await eventually(async () => expect(await statusOf("secretive")).to.equal("failed"));
        expect((await queue.get("secretive"))!.message).to.equal("failed");
        await eventually(() => expect(heard.messages).to.have.length(1));
        expect(heard.messages[0]).to.not.match(/hunter2|db\.internal/);
        expect(JSON.stringify(await raw.hgetall(taskKey("secretive")))).to.not.match(/hunter2|db\.internal/);
      });

      for (const [what, result] of [
        ["a BigInt", 1n],
        ["a circular object", circular],
        ["a function", () => {}],
        ["more than the limit", "x".repeat(256 * 1024)],
      ] as const) {
        it(`fails when its result is ${what}, and its worker goes on`, async () => {
          await queue.enqueue("kind", null, { id: "bad" });
          await queue.enqueue("kind", null, { id: "good" });
          queue.worker(({ task }) => (task.id === "bad" ? result : "fine"));
          await eventually(async () => expect(await statusOf("good")).to.equal("succeeded"));
          expect(await queue.get("bad")).to.include({
            status: "failed",
            message: "the result could not be stored",
            result: null,
          });
        });
      }

      it("can be read for resultTtlMs after its end, and without limit before", async () => {
        const short = sse.queue(`${queueName}-short`, { resultTtlMs: 60_000 });
        const key = `sse:queue:{${queueName}-short}:task:`;
        await short.enqueue("kind", null, { id: "ended" });
        expect(await raw.pttl(`${key}ended`)).to.equal(-1);
        short.worker(() => {});
        await eventually(async () => expect(await raw.pttl(`${key}ended`)).to.be.within(1, 60_000));
        const { id } = await queue.enqueue("kind", null);
        queue.worker(() => {});
        await eventually(async () =>
          expect(await raw.pttl(taskKey(id))).to.be.within(23 * 3_600_000, 24 * 3_600_000),
        );
      });

      it("is forgotten when its result has expired, and its id is free again", async () => {
        const short = sse.queue(`${queueName}-short`, { resultTtlMs: 1 });
        await short.enqueue("kind", null, { id: "again" });
        const worker = short.worker(() => {});
        await eventually(async () => expect(await short.get("again")).to.equal(null));
        await worker.stop();
        expect(await short.enqueue("kind", null, { id: "again" })).to.include({ attempt: 0 });
      });

      it("has the times at which things happened, in their order", async () => {
        const begun = Date.now();
        // A whole second long: a clock that is wrong in a part of each second is found.
        for (let task = 0; Date.now() < begun + 1_100; task++) {
          const before = Date.now();
          const { createdAt } = await queue.enqueue("kind", null, { id: `timed-${task}` });
          expect(Date.parse(createdAt)).to.be.within(before - 50, Date.now() + 50);
        }
      });
    });

    describe("its order", () => {
      it("is first in, first out", async () => {
        const ids = ["a", "b", "c", "d", "e"];
        for (const id of ids) await queue.enqueue("kind", null, { id });
        const order: string[] = [];
        queue.worker(({ task }) => void order.push(task.id));
        await eventually(() => expect(order).to.have.length(ids.length));
        expect(order).to.deep.equal(ids);
      });

      it("puts a task that was given back before the others", async () => {
        await queue.enqueue("kind", null, { id: "a" });
        await queue.enqueue("kind", null, { id: "b" });
        const first = queue.worker(hang);
        await eventually(() => expect(first.running).to.equal(1));
        await first.stop({ graceMs: 0 });
        const order: string[] = [];
        queue.worker(({ task }) => void order.push(task.id));
        await eventually(() => expect(order).to.deep.equal(["a", "b"]));
      });

      it("puts several that were given back before the others, and keeps their order", async () => {
        for (const id of ["a", "b", "c", "d"]) await queue.enqueue("kind", null, { id });
        const first = queue.worker(hang, { concurrency: 3 });
        await eventually(() => expect(first.running).to.equal(3));
        await first.stop({ graceMs: 0 });
        const order: string[] = [];
        queue.worker(({ task }) => void order.push(task.id));
        await eventually(() => expect(order).to.have.length(4));
        expect(order).to.deep.equal(["a", "b", "c", "d"]);
      });

      it("puts those whose worker was lost before the others, and keeps their order", async () => {
        for (const id of ["a", "b", "c", "d"]) await queue.enqueue("kind", null, { id });
        const lost = (await service({ clock: new FakeClock() })).queue(queueName).worker(hang, {
          concurrency: 3,
        });
        await eventually(() => expect(lost.running).to.equal(3));
        await raw.zadd(leasesKey(), 1, "a", 2, "b", 3, "c"); // long ago
        const order: string[] = [];
        queue.worker(({ task }) => void order.push(task.id));
        await eventually(() => expect(order).to.have.length(4));
        expect(order).to.deep.equal(["a", "b", "c", "d"]);
      });

      it("skips an id whose task is gone", async () => {
        await raw.lpush(readyKey(), "ghost");
        const { id } = await queue.enqueue("kind", null);
        queue.worker(() => {});
        await eventually(async () => expect(await statusOf(id)).to.equal("succeeded"));
        expect(await raw.exists(taskKey("ghost"))).to.equal(0);
      });
    });

    describe("progress", () => {
      it("goes out as plain JSON on task_progress:{taskId}, the last with the end's status", async () => {
        const heard = await hear("task_progress:told");
        await queue.enqueue("kind", null, { id: "told" });
        queue.worker(async ({ progress }) => {
          await progress(0);
          await progress(12.5, 'half of a "quarter"\n');
        });
        await eventually(() => expect(heard.messages).to.have.length(3));
        const events = heard.messages.map((message) => JSON.parse(message) as TaskProgress);
        expect(events).to.deep.equal([
          { taskId: "told", progress: 0, message: "", status: "running" },
          { taskId: "told", progress: 12.5, message: 'half of a "quarter"\n', status: "running" },
          { taskId: "told", progress: 100, message: "done", status: "succeeded" },
        ]);
      });

      it("ends with failed for a task that fails", async () => {
        const heard = await hear("task_progress:failing");
        await queue.enqueue("kind", null, { id: "failing" });
        queue.worker(() => {
          throw new TaskFailure("no");
        });
        await eventually(() => expect(heard.messages).to.have.length(1));
        expect(JSON.parse(heard.messages[0]!)).to.deep.equal({
          taskId: "failing",
          progress: 0,
          message: "no",
          status: "failed",
        });
      });

      it("of a task that waits can be published from outside, and is read with it", async () => {
        const heard = await hear("task_progress:outside");
        await queue.enqueue("kind", null, { id: "outside" });
        expect(await queue.publishProgress("outside", { progress: 20, message: "by hand" })).to.equal(true);
        await eventually(() => expect(heard.messages).to.have.length(1));
        expect(JSON.parse(heard.messages[0]!)).to.include({ taskId: "outside", progress: 20 });
        expect(await queue.get("outside")).to.include({
          progress: 20,
          message: "by hand",
          status: "queued",
          attempt: 0,
        });
      });

      it("of work that is no task of this queue is published, and stores nothing", async () => {
        const heard = await hear("task_progress:elsewhere");
        expect(await queue.publishProgress("elsewhere", { progress: 100 })).to.equal(true);
        await eventually(() => expect(heard.messages).to.have.length(1));
        expect(JSON.parse(heard.messages[0]!)).to.deep.equal({
          taskId: "elsewhere",
          progress: 100,
          message: "",
          status: "running",
        });
        expect(await queue.get("elsewhere")).to.equal(null);
      });

      for (const end of ["succeeded", "failed"] as const) {
        it(`is refused once a task has ${end}, from outside and from its handler`, async () => {
          const heard = await hear(`task_progress:ended-${end}`);
          await queue.enqueue("kind", null, { id: `ended-${end}` });
          const contexts: TaskContext[] = [];
          queue.worker((context) => {
            contexts.push(context);
            if (end === "failed") throw new TaskFailure("over");
          });
          await eventually(async () => expect(await statusOf(`ended-${end}`)).to.equal(end));
          const before = await queue.get(`ended-${end}`);
          expect(await queue.publishProgress(`ended-${end}`, { progress: 1, message: "late" })).to.equal(
            false,
          );
          await contexts[0]!.progress(2, "later");
          await heard.sync();
          expect(heard.messages.map((message) => (JSON.parse(message) as TaskProgress).status)).to.deep.equal(
            [end],
          );
          expect(await queue.get(`ended-${end}`)).to.deep.equal(before);
        });
      }

      it("of a task that is gone is refused, and its worker's signal fires", async () => {
        const heard = await hear("task_progress:gone");
        await queue.enqueue("kind", null, { id: "gone" });
        const { context } = await takeAndVanish(30_000);
        await raw.del(taskKey("gone"));
        await context.progress(50);
        expect(context.signal.aborted).to.equal(true);
        await heard.sync();
        expect(heard.messages).to.deep.equal([]);
        expect(await raw.exists(taskKey("gone"))).to.equal(0);
      });

      it("that cannot be is told to the handler, and the task goes on", async () => {
        const { id } = await queue.enqueue("kind", null);
        const faults: unknown[] = [];
        queue.worker(async ({ progress }) => {
          faults.push(await faultOf(progress(101)), await faultOf(progress(5, "x".repeat(1_001))));
          await progress(5, "x".repeat(1_000));
        });
        await eventually(async () => expect(await statusOf(id)).to.equal("succeeded"));
        expect(faults).to.have.length(2);
        for (const fault of faults) expectFault(fault, "INVALID_TASK");
      });
    });

    describe("bad input", () => {
      afterEach(async () => {
        expect(await raw.llen(readyKey()), "tasks enqueued").to.equal(0);
      });

      for (const [what, kind] of [
        ["empty", ""],
        ["too long", "k".repeat(129)],
        ["a number", 7],
        ["undefined", undefined],
        ["an array", ["kind"]],
      ] as const) {
        it(`a kind that is ${what} is INVALID_TASK`, async () => {
          expectFault(await faultOf(queue.enqueue(kind as string, null)), "INVALID_TASK");
        });
      }

      for (const id of [
        "",
        "a b",
        "../../x",
        "a:b",
        "{a}",
        "a\n",
        "é",
        "x".repeat(129),
        7,
        ["a"],
        {},
      ] as const) {
        it(`the id ${JSON.stringify(id).slice(0, 20)} is INVALID_TASK, wherever it is given`, async () => {
          const given = id as string;
          expectFault(await faultOf(queue.enqueue("kind", null, { id: given })), "INVALID_TASK");
          expectFault(await faultOf(queue.get(given)), "INVALID_TASK");
          expectFault(await faultOf(queue.publishProgress(given, { progress: 1 })), "INVALID_TASK");
        });
      }

      for (const [what, payload, code] of [
        ["a BigInt", { amount: 1n }, "UNSERIALIZABLE"],
        ["circular", circular, "UNSERIALIZABLE"],
        ["undefined", undefined, "UNSERIALIZABLE"],
        ["a function", () => {}, "UNSERIALIZABLE"],
        ["a symbol", Symbol("payload"), "UNSERIALIZABLE"],
        ["an object whose toJSON throws", thrower, "UNSERIALIZABLE"],
        ["longer than the limit", "x".repeat(256 * 1024 - 1), "TASK_TOO_LARGE"],
        ["longer than the limit in bytes, not in characters", "é".repeat(128 * 1024), "TASK_TOO_LARGE"],
      ] as const) {
        it(`a payload that is ${what} is ${code}`, async () => {
          const fault = await faultOf(queue.enqueue<unknown>("kind", payload));
          expectFault(fault, code);
          expect(String(fault)).to.not.include("hunter2");
        });
      }

      for (const [what, report] of [
        ["below 0", { progress: -1 }],
        ["above 100", { progress: 100.5 }],
        ["NaN", { progress: NaN }],
        ["a string", { progress: "50" }],
        ["missing", {}],
        ["that is not there at all", undefined],
        ["with a message too long", { progress: 1, message: "x".repeat(1_001) }],
        ["with a message that is no string", { progress: 1, message: { html: "<b>" } }],
      ] as const) {
        it(`progress ${what} is INVALID_TASK, and not published`, async () => {
          const id = `report-${queues}`;
          const heard = await hear(`task_progress:${id}`);
          const given = report as { progress: number };
          expectFault(await faultOf(queue.publishProgress(id, given)), "INVALID_TASK");
          await heard.sync();
          expect(heard.messages).to.deep.equal([]);
        });
      }

      for (const given of ["", "a b", "a:b", "{a}", "a\n", "é", "x".repeat(65), 7, null, ["a"]] as const) {
        it(`the queue name ${JSON.stringify(given).slice(0, 20)} is CONFIG`, () => {
          expect(() => sse.queue(given as string)).to.throw(ConfigError, /name/);
        });
      }

      for (const [option, value] of [
        ["attempts", 0],
        ["attempts", 1.5],
        ["attempts", NaN],
        ["attempts", Infinity],
        ["attempts", "3"],
        ["resultTtlMs", 0],
        ["resultTtlMs", -1],
        ["resultTtlMs", 0.5],
        ["resultTtlMs", Infinity],
        ["resultTtlMs", "60"],
      ] as const) {
        it(`the queue option ${option}: ${JSON.stringify(value)} (${String(value)}) is CONFIG`, () => {
          expect(() => sse.queue(`${queueName}-bad`, { [option]: value })).to.throw(ConfigError, option);
        });
      }

      it("options with a queue's second use are CONFIG, whatever they are", () => {
        expect(() => sse.queue(queueName, {})).to.throw(ConfigError, /first use/);
        expect(sse.queue(queueName)).to.equal(queue);
      });

      for (const [option, value] of [
        ["concurrency", 0],
        ["concurrency", 1.5],
        ["concurrency", 1_001],
        ["concurrency", "2"],
        ["leaseMs", 9],
        ["leaseMs", NaN],
        ["leaseMs", 24 * 3_600_000 + 1],
        ["pollMs", 0],
        ["pollMs", 5_001],
        ["pollMs", Infinity],
      ] as const) {
        it(`the worker option ${option}: ${String(value)} (${typeof value}) is CONFIG`, () => {
          expect(() => queue.worker(hang, { [option]: value })).to.throw(ConfigError, option);
        });
      }

      for (const handler of [undefined, null, {}, "handler"] as const) {
        it(`the handler ${JSON.stringify(handler)} is CONFIG`, () => {
          expect(() => queue.worker(handler as TaskHandler)).to.throw(ConfigError, /handler/);
        });
      }
    });

    it("takes a payload of exactly the limit, and an id, a kind and a name of the longest", async () => {
      const longest = sse.queue(`longest.${"x".repeat(56 - String(queues).length)}${queues}`);
      const task = await longest.enqueue("k".repeat(128), "x".repeat(256 * 1024 - 2), {
        id: "Az09_-".padEnd(128, "x"),
      });
      expect(await longest.get(task.id)).to.deep.equal(task);
    });

    it("refuses an id that is taken, and changes nothing of the task that has it", async () => {
      await queue.enqueue("kind", "first", { id: "taken" });
      const before = await raw.hgetall(taskKey("taken"));
      expectFault(await faultOf(queue.enqueue("other", "second", { id: "taken" })), "INVALID_TASK");
      expect(await raw.hgetall(taskKey("taken"))).to.deep.equal(before);
      expect(await raw.lrange(readyKey(), 0, -1)).to.deep.equal(["taken"]);
    });

    it("refuses the id of a task that has ended, while its result can be read", async () => {
      await queue.enqueue("kind", "first", { id: "ended" });
      queue.worker(() => "result");
      await eventually(async () => expect(await statusOf("ended")).to.equal("succeeded"));
      expectFault(await faultOf(queue.enqueue("kind", "second", { id: "ended" })), "INVALID_TASK");
      expect((await queue.get("ended"))!.result).to.equal("result");
    });

    describe("a worker", () => {
      it("runs as many tasks at once as its concurrency says, and no more", async () => {
        const gates = new Map<string, Gate>();
        let now = 0;
        let most = 0;
        for (let task = 0; task < 5; task++) await queue.enqueue("kind", null, { id: `c${task}` });
        const worker = queue.worker(
          async ({ task }) => {
            most = Math.max(most, ++now);
            const gate = deferred();
            gates.set(task.id, gate);
            await gate.promise;
            now--;
          },
          { concurrency: 2 },
        );
        await eventually(() => expect(gates.size).to.equal(2));
        await untilIdle(sse);
        expect(worker.running).to.equal(2);
        expect(await raw.llen(readyKey())).to.equal(3);
        // One that ends makes place for one.
        gates.get("c0")!.resolve();
        await eventually(() => expect([...gates.keys()]).to.deep.equal(["c0", "c1", "c2"]));
        for (const id of ["c1", "c2", "c3", "c4"]) {
          await eventually(() => expect(gates.has(id)).to.equal(true));
          gates.get(id)!.resolve();
        }
        await eventually(async () => expect(await statusOf("c4")).to.equal("succeeded"));
        expect(most).to.equal(2);
      });

      it("that idles takes a new task at once, from whichever service it comes", async () => {
        const other = await service();
        const started: string[] = [];
        queue.worker(({ task }) => void started.push(task.id), { pollMs: 5_000 });
        await untilIdle(sse);
        await queue.enqueue("kind", null, { id: "own" });
        await eventually(() => expect(started).to.deep.equal(["own"]), 1_500);
        await untilIdle(sse);
        await other.queue(queueName).enqueue("kind", null, { id: "foreign" });
        await eventually(() => expect(started).to.deep.equal(["own", "foreign"]), 1_500);
      });

      it("that idles takes at once what another gives back", async () => {
        await queue.enqueue("kind", null, { id: "given" });
        const first = queue.worker(hang);
        await eventually(() => expect(first.running).to.equal(1));
        const other = await service();
        let attempt = 0;
        other.queue(queueName).worker((context) => void (attempt = context.attempt), { pollMs: 5_000 });
        await untilIdle(other);
        await first.stop({ graceMs: 0 });
        await eventually(() => expect(attempt, "attempt").to.equal(1), 1_500);
      });

      it("looks by itself after pollMs for what it was not told of", async () => {
        const clock = new FakeClock();
        const patient = await service({ clock });
        let started = 0;
        await queue.enqueue("kind", null, { id: "untold" });
        await raw.rpop(readyKey());
        patient.queue(queueName).worker(() => void started++, { pollMs: 4_000 });
        await untilIdle(patient);
        await raw.lpush(readyKey(), "untold");
        clock.advance(3_999);
        await untilIdle(patient);
        expect(started).to.equal(0);
        clock.advance(1);
        await eventually(() => expect(started).to.equal(1));
      });

      it("takes what was enqueued before its subscription was acknowledged", async () => {
        const late = await service({ clock: new FakeClock() });
        const subscriber = late.pool.subscriber as Redis;
        const acknowledged = deferred();
        const subscribe = subscriber.subscribe.bind(subscriber) as (channel: string) => Promise<unknown>;
        stub(subscriber, "subscribe").callsFake(async (channel) => {
          await acknowledged.promise;
          return subscribe(channel as string);
        });
        let started = 0;
        late.queue(queueName).worker(() => void started++);
        await late.pool.commands.ping(); // its first look has been answered
        await settle();
        await queue.enqueue("kind", null, { id: "unheard" });
        await late.pool.commands.ping();
        await settle();
        expect(started).to.equal(0);
        acknowledged.resolve();
        await eventually(() => expect(started).to.equal(1));
      });

      it("that stops lets what is under way end, and takes nothing more", async () => {
        await queue.enqueue("kind", null, { id: "under-way" });
        await queue.enqueue("kind", null, { id: "waiting" });
        const release = deferred();
        let aborted = false;
        const worker = queue.worker(async ({ signal }) => {
          await release.promise;
          aborted = signal.aborted;
          return "whole";
        });
        await eventually(() => expect(worker.running).to.equal(1));
        const stopped = worker.stop({ graceMs: 60_000 });
        await settle();
        expect(worker.running).to.equal(1);
        release.resolve();
        await stopped;
        expect(aborted, "signal during the grace").to.equal(false);
        expect(await queue.get("under-way")).to.include({ status: "succeeded", result: "whole" });
        expect(await queue.get("waiting")).to.include({ status: "queued", attempt: 0 });
        expect(worker.running).to.equal(0);
      });

      it("that stops gives back what has not ended after graceMs, and tells its handler", async () => {
        const clock = new FakeClock();
        const slow = await service({ clock });
        await queue.enqueue("kind", null, { id: "slow" });
        const contexts: TaskContext[] = [];
        const worker = slow.queue(queueName).worker((context) => {
          contexts.push(context);
          return over.promise;
        });
        await eventually(() => expect(contexts).to.have.length(1));
        const stopped = worker.stop({ graceMs: 1_000 });
        clock.advance(999);
        await settle();
        expect(contexts[0]!.signal.aborted).to.equal(false);
        expect(await statusOf("slow")).to.equal("running");
        clock.advance(1);
        await stopped;
        expect(contexts[0]!.signal.aborted).to.equal(true);
        expect(await queue.get("slow")).to.include({ status: "queued", attempt: 0 });
        expect(await leaseCount(), "leases").to.equal(0);
        // What its handler still does is not taken.
        await contexts[0]!.progress(99, "late");
        over.resolve();
        await settle();
        expect(await queue.get("slow")).to.include({ status: "queued", progress: 0 });
        const taken = deferred<number>();
        queue.worker(({ attempt }) => taken.resolve(attempt));
        expect(await taken.promise).to.equal(1);
      });

      it("stops with its service, which then refuses further ones", async () => {
        const clock = new FakeClock();
        const closing = await service({ clock });
        await queue.enqueue("kind", null, { id: "closed" });
        const contexts: TaskContext[] = [];
        const kept = closing.queue(queueName);
        kept.worker((context) => {
          contexts.push(context);
          return over.promise;
        });
        await eventually(() => expect(contexts).to.have.length(1));
        const closed = closing.close();
        clock.advance(2_000);
        await closed;
        expect(contexts[0]!.signal.aborted).to.equal(true);
        expect(await queue.get("closed")).to.include({ status: "queued", attempt: 0 });
        expect(() => kept.worker(hang)).to.throw(RedisSseError, /closed/);
        expectFault(await faultOf(kept.enqueue("kind", null)), "CLOSED");
        expect(await raw.llen(readyKey())).to.equal(1);
        expect(clock.pending, "timers").to.equal(0);
      });

      it("cannot be started on a queue that is first named after its service was closed", async () => {
        const clock = new FakeClock();
        const closed = await service({ clock });
        await closed.close();
        expect(() => closed.queue(queueName).worker(hang)).to.throw(RedisSseError, /closed/);
        await settle();
        expect(clock.pending, "timers").to.equal(0);
      });

      it("that has stopped leaves no subscription behind, when its service is closed", async () => {
        const other = await service();
        const worker = other.queue(queueName).worker(hang);
        await untilIdle(other);
        const wake = `sse:queue:{${queueName}}:wake`;
        expect(await raw.publish(wake, "")).to.equal(1);
        await worker.stop();
        await other.close();
        await eventually(async () => expect(await raw.publish(wake, "")).to.equal(0));
      });
    });

    describe("a lease", () => {
      it("is renewed while the handler runs: nobody else gets the task", async () => {
        await queue.enqueue("kind", null, { id: "long" });
        const leftMs = async (): Promise<number> =>
          Number(await raw.eval(`return redis.call('ZSCORE', KEYS[1], 'long')`, 1, leasesKey())) - Date.now();
        const owner = await takeAndVanish(30_000);
        let begun = 0;
        queue.worker(() => void begun++, { pollMs: 10 });
        expect(await leftMs()).to.be.within(25_000, 32_000);
        await raw.zadd(leasesKey(), Date.now() + 10_000, "long"); // as if 20 seconds had passed
        owner.clock.advance(10_000);
        await eventually(async () => expect(await leftMs()).to.be.within(25_000, 32_000));
        await untilIdle(sse);
        expect(begun).to.equal(0);
        owner.end("whole");
        await eventually(async () => expect(await statusOf("long")).to.equal("succeeded"));
        expect(await queue.get("long")).to.include({ result: "whole", attempt: 1 });
        expect(await leaseCount()).to.equal(0);
      });

      it("that runs out gives the task to another worker, as attempt 2", async () => {
        await queue.enqueue("kind", { pages: 2 }, { id: "lost" });
        const lost = await takeAndVanish(50);
        expect(lost.context.attempt).to.equal(1);
        const taken = deferred<TaskContext>();
        queue.worker(
          (context) => {
            taken.resolve(context);
            return "by the second";
          },
          { pollMs: 10 },
        );
        const second = await taken.promise;
        expect(second.attempt).to.equal(2);
        expect(second.task).to.deep.include({ id: "lost", payload: { pages: 2 }, status: "running" });
        await eventually(async () => expect(await statusOf("lost")).to.equal("succeeded"));
        expect(await queue.get("lost")).to.include({ result: "by the second", attempt: 2 });
      });

      /** The first worker is lost, the second has the task and is at work. */
      async function takeOver(): Promise<{
        lost: Awaited<ReturnType<typeof takeAndVanish>>;
        heard: Awaited<ReturnType<typeof listen>>;
        release: () => void;
      }> {
        const heard = await hear(`task_progress:${queueName}`);
        await queue.enqueue("kind", null, { id: queueName });
        const lost = await takeAndVanish(50);
        const release = deferred();
        const second = queue.worker(
          async ({ progress }) => {
            await progress(10, "second");
            await release.promise;
            return "by the second";
          },
          { pollMs: 10 },
        );
        await eventually(async () =>
          expect(await queue.get(queueName)).to.include({ attempt: 2, message: "second" }),
        );
        expect(second.running).to.equal(1);
        return { lost, heard, release: release.resolve };
      }

      const messagesOf = (heard: { messages: readonly string[] }): readonly string[] =>
        heard.messages.map((message) => (JSON.parse(message) as TaskProgress).message);

      it("that was lost refuses the first worker's late result", async () => {
        const { lost, heard, release } = await takeOver();
        lost.end("by the first");
        await eventually(() => expect(lost.worker.running).to.equal(0));
        expect(await queue.get(queueName)).to.include({ status: "running", result: null, message: "second" });
        release();
        await eventually(async () => expect(await statusOf(queueName)).to.equal("succeeded"));
        expect(await queue.get(queueName)).to.include({ result: "by the second", attempt: 2 });
        await heard.sync();
        expect(messagesOf(heard)).to.deep.equal(["second", "done"]);
      });

      it("that was lost refuses the first worker's progress, and fires its signal", async () => {
        const { lost, heard, release } = await takeOver();
        expect(lost.context.signal.aborted).to.equal(false);
        await lost.context.progress(90, "first");
        expect(lost.context.signal.aborted).to.equal(true);
        expect(lost.worker.running).to.equal(0);
        await heard.sync();
        expect(messagesOf(heard)).to.deep.equal(["second"]);
        expect(await queue.get(queueName)).to.include({ progress: 10, message: "second" });
        release();
      });

      it("that was lost is not renewed: the first worker's signal fires", async () => {
        const { lost, release } = await takeOver();
        lost.clock.advance(50);
        await eventually(() => expect(lost.context.signal.aborted).to.equal(true));
        expect(lost.worker.running).to.equal(0);
        expect(await queue.get(queueName)).to.include({ status: "running", attempt: 2, message: "second" });
        release();
        await eventually(async () => expect(await statusOf(queueName)).to.equal("succeeded"));
      });

      it("that was lost lets the first worker give nothing back", async () => {
        const { lost, release } = await takeOver();
        const stopped = lost.worker.stop({ graceMs: 0 });
        lost.clock.advance(0);
        await stopped;
        expect(lost.context.signal.aborted).to.equal(true);
        expect(await queue.get(queueName)).to.include({ status: "running", attempt: 2 });
        expect(await raw.llen(readyKey())).to.equal(0);
        release();
        await eventually(async () => expect(await statusOf(queueName)).to.equal("succeeded"));
      });

      it("that was lost refuses a late result also while the task waits for its next worker", async () => {
        for (const id of ["a", "b"]) await queue.enqueue("kind", null, { id });
        const late = deferred<unknown>();
        const clock = new FakeClock();
        const lost = (await service({ clock })).queue(queueName).worker(() => late.promise, {
          concurrency: 2,
        });
        await eventually(() => expect(lost.running).to.equal(2));
        await raw.zadd(leasesKey(), 1, "a", 2, "b"); // long ago
        const second = queue.worker(hang);
        await eventually(() => expect(second.running).to.equal(1));
        const stopped = lost.stop({ graceMs: 1_000 });
        late.resolve("too late");
        await stopped;
        const tasks = await Promise.all(["a", "b"].map((id) => queue.get(id)));
        expect(tasks.map((task) => `${task!.status}, attempt ${task!.attempt}`)).to.have.members([
          "queued, attempt 1",
          "running, attempt 2",
        ]);
        expect(tasks.map((task) => task!.result)).to.deep.equal([null, null]);
      });

      it("that ran out for the last of the attempts fails the task, and tells so", async () => {
        const heard = await hear("task_progress:hopeless");
        const options = { attempts: 2, resultTtlMs: 60_000 };
        await queue.enqueue("kind", null, { id: "hopeless" });
        const first = await takeAndVanish(50, options);
        await first.context.progress(25, "so far");
        const second = await takeAndVanish(50, options);
        expect(second.context.attempt).to.equal(2);
        const third = await service();
        let begun = 0;
        third.queue(queueName, options).worker(() => void begun++, { pollMs: 10 });
        await eventually(async () => expect(await statusOf("hopeless")).to.equal("failed"));
        expect(await queue.get("hopeless")).to.include({ progress: 25, attempt: 2, result: null });
        expect((await queue.get("hopeless"))!.finishedAt).to.be.a("string");
        expect(await raw.pttl(taskKey("hopeless"))).to.be.within(1, 60_000);
        await heard.sync();
        expect(heard.messages.map((message) => JSON.parse(message) as unknown)).to.deep.equal([
          { taskId: "hopeless", progress: 25, message: "so far", status: "running" },
          {
            taskId: "hopeless",
            progress: 25,
            message: (await queue.get("hopeless"))!.message,
            status: "failed",
          },
        ]);
        expect(begun).to.equal(0);
        // Those who had it are told when they come back.
        await second.context.progress(50);
        expect(second.context.signal.aborted).to.equal(true);
        expect(await queue.get("hopeless")).to.include({ status: "failed", progress: 25 });
      });
    });
  });
}
