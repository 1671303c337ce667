import { expect } from "chai";
import { stub } from "sinon";

import type { QueueOptions } from "../../lib/index.js";
import { EnqueueBatcher } from "../../lib/queue/enqueue-batcher.js";
import { QueueStore } from "../../lib/queue/queue-store.js";
import { deferred, eventually } from "../support/eventually.js";
import { listen } from "../support/service.js";
import { describeQueueFaults, enqueueAll, failAll, until } from "../support/queue-fault-rig.js";

const KEYS = "sse:queue:{tasks}:";
const HOUR_MS = 3_600_000;

describeQueueFaults("a queue whose moves come at the worst of times", (rig) => {
  it("a stale dead letter is purged and requeued without touching the task that has its id now", async () => {
    const queue = rig.connect().queue("stale", { attempts: 1, deadLetterTtlMs: 20 });
    const worker = failAll(queue);
    await queue.enqueue("kind", 1, { id: "again" });
    await eventually(async () => expect(await queue.get("again")).to.equal(null));
    await worker.stop();
    // Its id is still among the failed, until the next task ends.
    expect(await rig.server.admin.zcard(`${KEYS}stale:failed`)).to.equal(1);
    await queue.enqueue("kind", 2, { id: "again" });
    await queue.deadLetters.requeue("again");
    expect(await queue.deadLetters.purgeAll()).to.equal(0);
    expect(await queue.get("again")).to.include({ payload: 2, status: "queued" });
  });

  it("a schedule fires once for each time, though its task is forgotten by then, and only as it stands", async () => {
    const queue = rig.connect().queue("times");
    await queue.schedule("tick", { everyMs: HOUR_MS }, "kind", null);
    const due = Date.parse((await queue.schedules())[0]!.nextAt);
    const next = due + HOUR_MS;
    const content = (await rig.server.admin.hget(`${KEYS}times:schedules`, "tick"))!;
    // What a worker does that has stood still since it was told.
    const enqueuer = new EnqueueBatcher(
      new QueueStore({
        name: "times",
        keyPrefix: "sse:",
        commands: () => rig.server.admin,
        newEpoch: () => "epoch",
        keepEvents: 100,
        results: { maxCount: 100, maxBytes: 1e9, maxPayloadBytes: 1e6 },
      }),
    );
    const fire = (at: number, as = content): ReturnType<EnqueueBatcher["fire"]> =>
      enqueuer.fire({ name: "tick", due: at, content: as }, at + HOUR_MS, {
        id: "task",
        kind: "kind",
        payload: "null",
        extra: "",
      });
    expect(await fire(due)).to.include({ status: "ok" });
    await rig.server.admin.del("sse:task:{tasks}:task");
    expect(await fire(due), "again").to.equal(null);
    expect(await fire(next, content.replace("kind", "other")), "as it was").to.equal(null);
    expect(Date.parse((await queue.schedules())[0]!.nextAt)).to.equal(next);
    await queue.unschedule("tick");
    expect(await fire(next), "taken away").to.equal(null);
    expect(await queue.get("task")).to.equal(null);
  });

  it("a schedule goes by the clock of Redis, whatever a worker takes for the time", async () => {
    const queue = rig.connect().queue("skew");
    const { now } = Date;
    const ahead = stub(Date, "now").callsFake(() => now() + HOUR_MS);
    rig.undo(() => ahead.restore());
    await queue.schedule("tick", { everyMs: 200 }, "kind", null);
    let begun = 0;
    const worker = queue.worker(() => void begun++);
    await eventually(() => expect(begun).to.be.at.least(3));
    await worker.stop();
    const [schedule] = await queue.schedules();
    expect(Date.parse(schedule!.nextAt) - now()).to.be.at.most(1_000);
  });

  it("thousands of schedules can be listed", async () => {
    const queue = rig.connect().queue("many");
    const count = 5_000;
    await queue.schedule("s0", { everyMs: HOUR_MS }, "kind", null);
    const content = (await rig.server.admin.hget(`${KEYS}many:schedules`, "s0"))!;
    const pipeline = rig.server.admin.pipeline();
    for (let index = 1; index < count; index++) {
      pipeline.hset(`${KEYS}many:schedules`, `s${index}`, content);
      pipeline.zadd(`${KEYS}many:due`, String(Date.now() + HOUR_MS + index), `s${index}`);
    }
    await pipeline.exec();
    expect(await queue.schedules()).to.have.length(count);
  });

  it("a slow rate is kept while workers look at the queue all the time", async () => {
    // So long that what comes in between two looks is less than a millionth.
    const interval = 2_000_000_000;
    const queue = rig.connect().queue("slow", { rateLimit: { max: 1, intervalMs: interval } });
    // One that was taken nearly so long ago: the next is due in two seconds.
    await rig.server.admin.hset(
      `${KEYS}slow`,
      "tokens",
      "0",
      "tokensAt",
      String(Date.now() - interval + 2_000),
    );
    await enqueueAll(queue, ["a", "b"]);
    for (let workers = 0; workers < 4; workers++) queue.worker(() => {}, { pollMs: 1 });
    await until(queue, "a", "succeeded", 6_000);
    expect((await queue.get("b"))?.status).to.equal("queued");
  });

  it("an attempt that was lost to its own worker is told so", async () => {
    const queue = rig.connect().queue("own");
    const reasons: unknown[] = [];
    const over = deferred();
    rig.undo(over.resolve);
    queue.worker(
      async ({ attempt, signal }) => {
        signal.addEventListener("abort", () => reasons.push((signal.reason as { code: string }).code));
        if (attempt === 1) await over.promise;
      },
      { concurrency: 2, leaseMs: 60_000, pollMs: 10 },
    );
    await queue.enqueue("kind", null, { id: "own" });
    await until(queue, "own", "running");
    // As if renewals had not come through for a minute.
    await rig.server.admin.zadd(`${KEYS}own:leases`, 1, "own");
    await until(queue, "own");
    expect(reasons).to.include("LEASE_LOST");
  });

  it("an id that is used again is neither forgotten nor shown for what it was", async () => {
    const first = rig.connect().queue("first", { maxResults: 1, resultTtlMs: 20 });
    const second = rig.connect().queue("second");
    const shown = async (): Promise<string[]> => (await first.list("cancelled")).tasks.map(({ id }) => id);
    await first.enqueue("kind", 1, { id: "again" });
    await first.cancel("again");
    await eventually(async () => expect(await first.get("again")).to.equal(null));
    // The entry outlives the task, as where a server that is short of memory has dropped that.
    await rig.server.admin.zadd(`${KEYS}first:cancelled`, String(Date.now() + HOUR_MS), "again");
    await second.enqueue("secret", 2, { id: "again", delayMs: HOUR_MS });
    expect(await shown()).to.deep.equal([]);
    await first.enqueue("kind", 3, { id: "other", resultTtlMs: 2 * HOUR_MS });
    await first.cancel("other");
    expect(await first.counts()).to.include({ cancelled: 1 });
    expect(await shown()).to.deep.equal(["other"]);
    expect(await second.get("again")).to.include({ kind: "secret", status: "delayed" });
    await rig.server.admin.zadd(`${KEYS}first:cancelled`, String(Date.now() + HOUR_MS), "gone");
    await second.enqueue("secret", 4, { id: "gone" });
    await second.cancel("gone");
    expect(await shown()).to.deep.equal(["other"]);
  });

  it("what is over is listed as long as it is kept", async () => {
    const queue = rig.connect().queue("kept");
    await queue.enqueue("kind", 1, { id: "old" });
    await queue.cancel("old");
    await rig.server.admin.zadd(`${KEYS}kept:cancelled`, 1, "old");
    expect(await queue.list("cancelled")).to.deep.equal({ tasks: [], next: null });
  });

  it("a page goes on where the one before ended, though its last task has moved", async () => {
    const queue = rig.connect().queue("pages");
    const ids = Array.from({ length: 6 }, (_, index) => `p${index}`);
    for (const [index, id] of ids.entries()) {
      await queue.enqueue("kind", null, { id, delayMs: (index + 1) * HOUR_MS });
    }
    const { next } = await queue.list("delayed", { limit: 2 });
    await rig.server.admin.zadd(`${KEYS}pages:delayed`, String(Date.now() + 100 * HOUR_MS), "p1");
    const { tasks } = await queue.list("delayed", { cursor: next });
    expect(tasks.map(({ id }) => id)).to.deep.equal(["p2", "p3", "p4", "p5", "p1"]);
  });

  it("a key of deduplication whose task was forgotten is free, though its id is another queue's by now", async () => {
    const queue = rig.connect().queue("keys");
    const deduplicate = { key: "key", windowMs: HOUR_MS };
    await queue.enqueue("kind", null, { id: "holder", deduplicate });
    // As a server does that is short of memory.
    await rig.server.admin.del("sse:task:{tasks}:holder");
    await rig.connect().queue("another").enqueue("kind", null, { id: "holder" });
    expect((await queue.enqueue("kind", null, { id: "next", deduplicate })).id).to.equal("next");
  });

  it("a queue does not speak for another's task", async () => {
    const sse = rig.connect();
    const [mine, theirs] = [sse.queue("mine"), sse.queue("theirs")];
    const { id } = await mine.enqueue("kind", null);
    expect(await theirs.publishProgress(id, { progress: 50 })).to.equal(false);
    expect(await mine.get(id)).to.include({ progress: 0 });
    expect(await mine.publishProgress(id, { progress: 50 })).to.equal(true);
  });

  it('a dead letter of the id "all" is one of many', async () => {
    const queue = rig.connect().queue("all", { attempts: 1 });
    failAll(queue);
    for (const id of ["all", "a"]) await queue.enqueue("kind", null, { id });
    await eventually(async () => expect((await queue.counts()).failed).to.equal(2));
    expect(await queue.deadLetters.purge("all")).to.equal(1);
    expect(await queue.get("a")).to.include({ status: "failed" });
  });

  for (const keep of [true, false]) {
    it(`events of a task are told once each ${keep ? "with" : "without"} a history`, async () => {
      const options: QueueOptions = { progressMs: 0, backoff: 0 };
      const service = rig.connect(keep ? {} : { history: false });
      const queue = service.queue("told", options);
      const heard = await listen(service, "task_progress:told");
      rig.undo(() => heard.stop());
      await queue.enqueue("kind", null, { id: "told" });
      if (keep) await service.publish("other", { data: 1 });
      queue.worker(
        async ({ attempt, progress }) => {
          await progress(50);
          if (attempt === 1) throw new Error("once more");
        },
        { onError: () => {} },
      );
      await until(queue, "told");
      await heard.sync();
      const types = heard.messages.map((message) => (JSON.parse(message) as { type: string }).type);
      const told = ["queued", "started", "progress", "retry", "started", "progress", "succeeded"];
      expect(types).to.deep.equal(told);
    });
  }
});
