import { expect } from "chai";

import type { QueueService, RedisSse } from "../../lib/index.js";
import { deferred, eventually } from "../support/eventually.js";
import { untilIdle } from "../support/service.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { describeQueueFaults, enqueueAll, idsOf, loggedOf, until } from "../support/queue-fault-rig.js";

/** Longer than any test, so that a test that waits for a lease fails. */
const LEASE_MS = 120_000;

describeQueueFaults(
  "queue calls whose reply is lost",
  (rig) => {
    let proxy: TcpProxy;
    let sse: RedisSse;
    /** Connected directly. */
    let direct: QueueService;
    /** Connected through the proxy. */
    let behind: QueueService;

    /** Loads the scripts into Redis, so that the held reply is the reply to the first attempt. */
    beforeEach(async () => {
      proxy = await TcpProxy.start(rig.server.port);
      rig.undo(() => proxy.close());
      sse = rig.connect({ redis: proxy.url });
      [direct, behind] = [rig.connect().queue("lost"), sse.queue("lost")];
      await direct.enqueue("warm", null, { id: "warm" });
      const worker = direct.worker(async ({ progress }) => progress(1));
      await until(direct, "warm");
      await worker.stop();
      await behind.counts();
    });

    async function untilKept(text: string): Promise<void> {
      await eventually(() => expect(proxy.keptReplies).to.include(text));
    }

    /** Lets Redis execute the call, then cuts the connection before its reply arrives. */
    async function loseAnswer(call: () => unknown, answer: string): Promise<void> {
      proxy.keepRepliesAt("evalsha");
      call();
      await untilKept(answer);
      proxy.cut();
    }

    /** Resolves when the worker behind the proxy has finished a task and waits for the next one. */
    async function untilClaiming(): Promise<void> {
      await behind.enqueue("kind", null, { id: "first" });
      await until(direct, "first");
      await untilIdle(sse);
    }

    it("enqueue() adds one task and returns it", async () => {
      await behind.enqueue("warm", null, { id: "known" });
      const before = (await direct.counts()).totals.enqueued;
      let task: Promise<unknown> = Promise.resolve();
      await loseAnswer(() => (task = behind.enqueue("kind", 1, { id: "a" })), "ok");
      expect(await task).to.include({ id: "a", status: "queued" });
      expect((await direct.counts()).totals.enqueued).to.equal(before + 1);
      expect((await direct.list("queued")).tasks.map(({ id }) => id)).to.deep.equal(["known", "a"]);
    });

    it("enqueueMany() adds all tasks once and reports no existing id", async () => {
      await behind.enqueue("warm", null, { id: "known" });
      const entries = ["a", "b", "c"].map((id) => ({ kind: "kind", payload: 1, options: { id } }));
      let tasks: Promise<readonly { id: string }[]> = Promise.resolve([]);
      await loseAnswer(() => (tasks = behind.enqueueMany(entries)), "ok");
      expect((await tasks).map(({ id }) => id)).to.deep.equal(["a", "b", "c"]);
      expect((await direct.list("queued")).tasks.map(({ id }) => id)).to.deep.equal(["known", "a", "b", "c"]);
    });

    it("a claim starts each task once, without waiting for the lease", async () => {
      const ids = idsOf(8);
      const begun: string[] = [];
      behind.worker(({ task, attempt }) => void begun.push(`${task.id} ${attempt}`), {
        concurrency: 20,
        leaseMs: LEASE_MS,
      });
      await untilClaiming();
      await loseAnswer(() => enqueueAll(direct, ids), "task-7");
      for (const id of ids) await until(direct, id);
      expect(begun.toSorted()).to.deep.equal(["first 1", ...ids.map((id) => `${id} 1`)]);
    });

    it("a claim that times out leaves its tasks to the next claim", async () => {
      const begun: number[] = [];
      const worker = behind.worker(({ attempt }) => void begun.push(attempt), { leaseMs: LEASE_MS });
      await untilClaiming();
      proxy.keepRepliesAt("evalsha");
      await direct.enqueue("kind", null, { id: "second" });
      await untilKept("second");
      // The connection stays open. The worker waits until its own deadline, then retries.
      await until(direct, "second", "succeeded", 20_000);
      expect(begun).to.deep.equal([1, 1]);
      await worker.stop();
    });

    it("a settled outcome is stored and counted once", async () => {
      const over = deferred();
      behind.worker(() => over.promise, { leaseMs: LEASE_MS, pollMs: 5_000 });
      await behind.enqueue("kind", null, { id: "a" });
      await until(direct, "a", "running");
      const before = (await direct.counts()).totals.succeeded;
      // The first script call from here on, apart from NOSCRIPT retries.
      await loseAnswer(() => over.resolve(), "1");
      await eventually(() => expect(behind.statistics).to.include({ succeeded: 1, refused: 0, running: 0 }));
      expect((await direct.counts()).totals).to.include({ succeeded: before + 1, refused: 0 });
      expect(await direct.get("a")).to.include({ status: "succeeded", attempt: 1 });
    });

    it("a chunk of output is stored once, before the following chunks", async () => {
      const ready = deferred();
      const go = deferred();
      behind.worker(
        async ({ write }) => {
          await write("one ");
          ready.resolve();
          await go.promise;
          await write("two ");
          await write("three");
        },
        { leaseMs: LEASE_MS, pollMs: 5_000 },
      );
      await behind.enqueue("kind", null, { id: "a" });
      await ready.promise;
      await loseAnswer(() => go.resolve(), "1");
      await until(direct, "a");
      expect(await loggedOf(rig.server, "a", "chunk")).to.deep.equal(["one ", "two ", "three"]);
    });

    it("notifications.create() stores one notification", async () => {
      let created: Promise<string> = Promise.resolve("");
      await sse.notifications.create({ userId: "ann", title: "warm" });
      await loseAnswer(() => (created = sse.notifications.create({ userId: "ann", title: "once" })), "\r\n");
      const list = await sse.notifications.list("ann");
      expect(list.map(({ title }) => title)).to.deep.equal(["once", "warm"]);
      expect(list[0]).to.have.property("id", await created);
    });
  },
  { timeoutMs: 40_000 },
);
