import { expect } from "chai";
import { stub } from "sinon";

import { deferred, eventually } from "../support/eventually.js";
import { describeQueueFaults, enqueueAll, failAll, until } from "../support/queue-fault-rig.js";

const KEYS = "sse:queue:{tasks}:";
const HOUR_MS = 3_600_000;

describeQueueFaults("a queue with changes at the worst moments", (rig) => {
  it("does not purge or requeue a new task because its id was a dead letter before", async () => {
    const queue = rig.connect().queue("stale", { attempts: 1, deadLetterTtlMs: 20 });
    const worker = failAll(queue);
    await queue.enqueue("kind", 1, { id: "again" });
    await eventually(async () => expect(await queue.get("again")).to.equal(null));
    await worker.stop();
    // Its id stays in the failed set until the next task ends.
    expect(await rig.server.admin.zcard(`${KEYS}stale:failed`)).to.equal(1);
    await queue.enqueue("kind", 2, { id: "again" });
    await queue.deadLetters.requeue("again");
    expect(await queue.deadLetters.purgeAll()).to.equal(0);
    expect(await queue.get("again")).to.include({ payload: 2, status: "queued" });
  });

  it("uses the clock of Redis for schedules, not the clock of the worker", async () => {
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

  it("lists thousands of schedules", async () => {
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

  it("keeps a slow rate limit while workers poll the queue constantly", async () => {
    // So long that less than a millionth of a token accrues between two polls.
    const interval = 2_000_000_000;
    const queue = rig.connect().queue("slow", { rateLimit: { max: 1, intervalMs: interval } });
    // As if the last token was taken almost one interval ago: the next one is due in two seconds.
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

  it("aborts an attempt with LEASE_LOST if its own worker has claimed the task again", async () => {
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
    // As if no renewal had succeeded for a minute.
    await rig.server.admin.zadd(`${KEYS}own:leases`, 1, "own");
    await until(queue, "own");
    expect(reasons).to.include("LEASE_LOST");
  });

  it("does not delete a task, or list it as cancelled, because its id was used before", async () => {
    const first = rig.connect().queue("first", { maxResults: 1, resultTtlMs: 20 });
    const second = rig.connect().queue("second");
    const shown = async (): Promise<string[]> => (await first.list("cancelled")).tasks.map(({ id }) => id);
    await first.enqueue("kind", 1, { id: "again" });
    await first.cancel("again");
    await eventually(async () => expect(await first.get("again")).to.equal(null));
    // The entry outlives the task, as if Redis had evicted the task.
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

  it("frees a deduplication key whose task is gone, even if another queue has reused the task id", async () => {
    const queue = rig.connect().queue("keys");
    const deduplicate = { key: "key", windowMs: HOUR_MS };
    await queue.enqueue("kind", null, { id: "holder", deduplicate });
    // As if Redis had evicted the task.
    await rig.server.admin.del("sse:task:{tasks}:holder");
    await rig.connect().queue("another").enqueue("kind", null, { id: "holder" });
    expect((await queue.enqueue("kind", null, { id: "next", deduplicate })).id).to.equal("next");
  });

  it("refuses progress for a task of another queue", async () => {
    const sse = rig.connect();
    const [mine, theirs] = [sse.queue("mine"), sse.queue("theirs")];
    const { id } = await mine.enqueue("kind", null);
    expect(await theirs.publishProgress(id, { progress: 50 })).to.equal(false);
    expect(await mine.get(id)).to.include({ progress: 0 });
    expect(await mine.publishProgress(id, { progress: 50 })).to.equal(true);
  });

  it('treats the id "all" as the id of one dead letter', async () => {
    const queue = rig.connect().queue("all", { attempts: 1 });
    failAll(queue);
    for (const id of ["all", "a"]) await queue.enqueue("kind", null, { id });
    await eventually(async () => expect((await queue.counts()).failed).to.equal(2));
    expect(await queue.deadLetters.purge("all")).to.equal(1);
    expect(await queue.get("a")).to.include({ status: "failed" });
  });
});
