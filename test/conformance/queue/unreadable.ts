import { expect } from "chai";

import type { QueueService } from "../../../lib/index.js";
import { eventually } from "../../support/eventually.js";
import { createRandom } from "../../support/random.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { faultOf } from "../../support/service.js";

type UnreadablePage = Awaited<ReturnType<QueueService["listUnreadable"]>>;

const HOSTILE = ["", "a b", "a\nb", 'x"y', "../../etc", "%41", "ü", "{tasks}", "x".repeat(5_000)];
const VALUES = ["", "-1", "1e999", "nan", "inf", "x", "9".repeat(30), '"', "a\nb", "\0", "{}", "ü"];
/** Invalid values of each field. */
const IMPOSSIBLE: readonly (readonly [field: string, value: string])[] = [
  ["attempt", "x"],
  ["attempts", "0"],
  ["place", "nan"],
  ["createdAt", "yesterday"],
  ["createdAt", "9".repeat(16)],
  ["startedAt", "9".repeat(30)],
  ["priority", "1000"],
  ["progress", '0,"a":1'],
  ["status", "done"],
  ["queue", ""],
  ["queue", "another"],
];

/** Tests tasks that another program has damaged, and ids without a task. */
export function describeUnreadable(rig: QueueRig): void {
  describe("unreadable task", () => {
    it("is set aside, counted and listed, and other tasks run", async () => {
      const broken: string[] = [];
      for (const [index, [field, value]] of IMPOSSIBLE.entries()) {
        await rig.queue.enqueue("kind", null, { id: `good-${index}` });
        const { id } = await rig.queue.enqueue("kind", null, { id: `broken-${index}` });
        // The scripts read the fields of options and earlier attempts only if `more` is set.
        await rig.raw.hset(rig.taskKey(id), "more", "1", field, value);
        broken.push(id);
      }
      const done = startWorker(rig);
      await eventually(() => expect(done).to.have.length(IMPOSSIBLE.length));
      expect(done.every((id) => id.startsWith("good-"))).to.equal(true);
      expect(await untilAside(rig, broken.length)).to.have.members(broken);
      const counts = await rig.queue.counts();
      expect(counts).to.include({ queued: 0, running: 0, unreadable: broken.length });
      expect(counts.totals).to.include({ unreadable: broken.length, failed: 0 });
    });

    for (const missing of ["kind", "queue", "status", "createdAt", "payload"]) {
      it(`is set aside from the ready, delayed and leases sets if ${missing} or every field is missing`, async () => {
        const { queue, raw } = rig;
        await queue.enqueue("kind", null, { id: "ready" });
        await queue.enqueue("kind", null, { id: "delayed", delayMs: 3_600_000 });
        await queue.enqueue("kind", null, { id: "leased", priority: 1 });
        await rig.takeAndVanish();
        for (const id of ["ready", "delayed", "leased"]) await raw.hdel(rig.taskKey(id), missing);
        await rig.expire("delayed", "delayed", "no-such-delayed");
        await rig.expire("leases", "leased", "no-such-leased");
        await rig.expire("ready", "no-such-ready");
        await queue.enqueue("kind", null, { id: "good" });
        const done = startWorker(rig);
        await eventually(() => expect(done).to.deep.equal(["good"]));
        const ids = ["ready", "delayed", "leased", "no-such-delayed", "no-such-leased", "no-such-ready"];
        expect(await untilAside(rig, ids.length)).to.have.members(ids);
        for (const set of ["ready", "delayed", "leases"] as const) {
          expect(await rig.members(set), set).to.deep.equal([]);
        }
      });
    }

    it("is set aside with a hostile id from each of these sets and listed page by page", async () => {
      for (const set of ["ready", "delayed", "leases"] as const) await rig.expire(set, ...HOSTILE);
      await rig.queue.enqueue("kind", null, { id: "good" });
      const done = startWorker(rig);
      await eventually(() => expect(done).to.deep.equal(["good"]));
      const ids = await untilAside(rig, HOSTILE.length);
      expect(ids.map(readName)).to.have.members([...HOSTILE.slice(0, -1), "x".repeat(200)]);
      const paged: string[] = [];
      let cursor: string | null = null;
      do {
        const page: UnreadablePage = await rig.queue.listUnreadable({ cursor, limit: 2 });
        for (const { id, setAsideAt } of page.tasks) {
          paged.push(id);
          expect(Date.parse(setAsideAt)).to.be.within(Date.now() - 60_000, Date.now() + 1_000);
        }
        cursor = page.next;
      } while (cursor !== null);
      expect(paged).to.deep.equal(ids);
      await eventually(async () => {
        for (const set of ["ready", "delayed", "leases"] as const) {
          expect(await rig.members(set), set).to.deep.equal([]);
        }
      });
      expect((await rig.queue.counts()).totals.unreadable).to.equal(3 * HOSTILE.length);
    });

    it("is set aside if its score is infinite", async () => {
      for (const id of ["r1", "r2"]) await rig.queue.enqueue("kind", null, { id });
      for (const id of ["d1", "d2"]) await rig.queue.enqueue("kind", null, { id, delayMs: 3_600_000 });
      await rig.raw.zadd(rig.key("ready"), "-inf", "r1", "+inf", "r2");
      await rig.raw.zadd(rig.key("delayed"), "-inf", "d1", "+inf", "d2");
      await rig.raw.zadd(rig.key("leases"), "-inf", "l1", "+inf", "l2");
      await rig.queue.enqueue("kind", null, { id: "good" });
      const done = startWorker(rig);
      await eventually(() => expect(done).to.deep.equal(["good"]));
      expect(await untilAside(rig, 6)).to.have.members(["r1", "r2", "d1", "d2", "l1", "l2"]);
    });

    it("does not make get() or list() fail, and is removed by remove()", async () => {
      const { queue, raw } = rig;
      for (const id of ["time", "text"]) await queue.enqueue("kind", null, { id });
      await raw.hset(rig.taskKey("time"), "createdAt", "9".repeat(30), "priority", "x");
      await raw.del(rig.taskKey("text"));
      await raw.set(rig.taskKey("text"), "not a hash");
      expect(await queue.get("time")).to.include({ createdAt: "", priority: 0 });
      expect(await queue.get("text")).to.equal(null);
      expect((await queue.list("queued")).tasks.map(({ id }) => id)).to.deep.equal(["time"]);
      startWorker(rig);
      const ids = await untilAside(rig, 2);
      const left = await Promise.all(ids.map((id) => raw.pttl(rig.taskKey(id))));
      for (const ttl of left) expect(ttl).to.be.within(1, 7 * 24 * 3_600_000);
      for (const id of ids) expect(await queue.remove(id)).to.equal(true);
      for (const id of ids) expect(await queue.remove(id)).to.equal(false);
      expect(await queue.counts()).to.include({ unreadable: 0 });
      expect(await raw.exists(rig.taskKey("time"), rig.taskKey("text"))).to.equal(0);
    });

    it("is listed only if it is among the newest 1,000, and the list expires", async () => {
      const ids = Array.from({ length: 1_100 }, (_, index) => `gone-${index}`);
      await rig.expire("ready", ...ids);
      startWorker(rig);
      const isDone = async (): Promise<unknown> =>
        expect((await rig.queue.counts()).totals.unreadable).to.equal(1_100);
      await eventually(isDone, 15_000);
      expect(await rig.queue.counts()).to.include({ queued: 0, unreadable: 1_000 });
      expect(await rig.raw.pttl(rig.key("unreadable"))).to.be.within(1, 7 * 24 * 3_600_000);
    });

    it("does not affect a running task or a task of another queue with the same id", async () => {
      const other = rig.sse.queue(`${rig.name}-other`);
      await other.enqueue("kind", 1, { id: "theirs" });
      await rig.queue.enqueue("kind", 1, { id: "mine" });
      const { end } = await rig.takeAndVanish();
      await rig.expire("ready", "theirs", "mine");
      startWorker(rig);
      expect(await untilAside(rig, 2)).to.have.members(["theirs", "mine"]);
      expect(await rig.raw.pttl(rig.taskKey("theirs"))).to.equal(-1);
      expect(await rig.raw.pttl(rig.taskKey("mine"))).to.equal(-1);
      for (const id of ["theirs", "mine"]) expect(await rig.queue.remove(id)).to.equal(true);
      expect(await other.get("theirs")).to.include({ status: "queued", payload: 1 });
      end("done");
      expect(await rig.until("mine", "succeeded")).to.include({ result: "done", attempt: 1 });
    });

    it("does not stop a worker if counters or rate limit tokens are damaged", async () => {
      const queue = await rig.elsewhere({ rateLimit: { max: 100, intervalMs: 1 } });
      const meta = rig.key("ready").slice(0, -":ready".length);
      for (const field of ["seq", "tokens", "tokensAt", "enqueued", "succeeded", "lost"]) {
        await rig.raw.hset(meta, field, "x");
      }
      await queue.enqueue("kind", null, { id: "first" });
      await queue.enqueue("kind", null, { id: "second" });
      const done: string[] = [];
      queue.worker(({ task }) => void done.push(task.id), { pollMs: 20 });
      await eventually(() => expect(done).to.deep.equal(["first", "second"]));
      await rig.until("second", "succeeded");
      expect((await queue.counts()).totals.enqueued).to.be.within(1, 2);
    });

    it("becomes a dead letter if only its options are unreadable", async () => {
      const options = ['{"resultTtlMs":"x"}', '{"backoff":{"delayMs":-1}}', '{"timeoutMs":1e99}', "[]", "{"];
      for (const [index, text] of options.entries()) {
        const { id } = await rig.queue.enqueue("kind", null, { id: `task-${index}` });
        await rig.raw.hset(rig.taskKey(id), "options", text, "more", "1");
      }
      const done = startWorker(rig);
      for (const index of options.keys()) await rig.until(`task-${index}`, "failed");
      expect(done).to.deep.equal([]);
    });

    it("can be removed by remove() like any task that is not running", async () => {
      const { queue } = rig;
      await queue.enqueue("kind", null, { id: "running" });
      await rig.takeAndVanish();
      await queue.enqueue("kind", null, { id: "queued", deduplicate: "key" });
      await queue.enqueue("kind", null, { id: "delayed", delayMs: 60_000 });
      await queue.enqueue("kind", null, { id: "cancelled" });
      await queue.cancel("cancelled");
      for (const id of ["queued", "delayed", "cancelled"]) expect(await queue.remove(id), id).to.equal(true);
      for (const id of ["queued", "delayed", "cancelled"]) expect(await queue.get(id), id).to.equal(null);
      expect(await faultOf(queue.remove("running"))).to.include({ code: "TASK_RUNNING" });
      expect(await rig.sse.queue(`${rig.name}-other`).remove("running")).to.equal(false);
      expect(await faultOf(queue.remove("a b"))).to.include({ code: "INVALID_TASK" });
      expect(await queue.counts()).to.include({ queued: 0, delayed: 0, cancelled: 0, running: 1 });
      const next = await queue.enqueue("kind", null, { id: "next", deduplicate: "key" });
      expect(next.id).to.equal("next");
    });

    for (const seed of [1, 2]) {
      it(`does not affect other tasks for any texts in hashes and sets (seed ${seed})`, async () => {
        const random = createRandom(seed);
        const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
        const fields = [
          ...new Set(IMPOSSIBLE.map(([field]) => field)),
          "once",
          "watched",
          "options",
          "token",
        ];
        const touched = new Set<string>();
        const good: string[] = [];
        for (let index = 0; index < 40; index++) {
          const id = `task-${index}`;
          const delayMs = random() < 0.3 ? 60_000 : 0;
          await rig.queue.enqueue("kind", { index }, { id, ...(delayMs > 0 && { delayMs }) });
          if (delayMs > 0) await rig.expire("delayed", id);
          if (random() < 0.5) good.push(id);
          else {
            touched.add(id);
            for (let times = 0; times < 2; times++) {
              if (random() < 0.3) await rig.raw.hdel(rig.taskKey(id), pick(fields));
              else await rig.raw.hset(rig.taskKey(id), pick(fields), pick([...VALUES, ...HOSTILE]));
            }
          }
        }
        for (let times = 0; times < 20; times++) {
          const member = pick([...HOSTILE, ...VALUES]);
          await rig.raw.zadd(rig.key(pick(["ready", "delayed", "leases"] as const)), times - 10, member);
        }
        const done = startWorker(rig);
        await eventually(() => expect(done).to.include.members(good));
        await eventually(async () => {
          const counts = await rig.queue.counts();
          expect(counts).to.include({ queued: 0, delayed: 0, running: 0 });
          const aside = (await rig.queue.listUnreadable({ limit: 1_000 })).tasks.map(({ id }) => id);
          for (const id of touched) {
            const task = await rig.queue.get(id);
            const isOver = task !== null && ["succeeded", "failed"].includes(task.status);
            expect(isOver || aside.includes(id), id).to.equal(true);
          }
        });
        for (const id of good) expect(await rig.queue.get(id), id).to.include({ status: "succeeded" });
      });
    }
  });
}

function startWorker(rig: QueueRig): string[] {
  const done: string[] = [];
  rig.queue.worker(({ task }) => void done.push(task.id), { concurrency: 20, pollMs: 20, onError: () => {} });
  return done;
}

/** Waits until `count` tasks are set aside and returns their ids. */
async function untilAside(rig: QueueRig, count: number): Promise<readonly string[]> {
  return eventually(async () => {
    const { tasks } = await rig.queue.listUnreadable({ limit: 1_000 });
    expect(tasks.length).to.equal(count);
    return tasks.map(({ id }) => id);
  });
}

/** Decodes an id of the list. */
function readName(name: string): string {
  return name === "%" ? "" : decodeURIComponent(name.replace(/\.\.\.$/, ""));
}
