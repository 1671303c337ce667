import { expect } from "chai";

import { deferred, eventually } from "../support/eventually.js";
import { faultOf } from "../support/service.js";
import {
  describeQueueFaults,
  enqueueAll,
  everythingIn,
  failAll,
  loggedOf,
  until,
} from "../support/queue-fault-rig.js";

describeQueueFaults("a queue on a Redis that refuses commands or has unusual settings", (rig) => {
  /** Creates a user with all commands and keys, and with these additional rules. */
  async function loginAs(name: string, ...rights: readonly string[]): Promise<{ redis: string }> {
    await rig.server.admin.call("ACL", "SETUSER", name, "reset", "on", ">pass", "~*", "+@all", ...rights);
    return { redis: `redis://${name}:pass@127.0.0.1:${rig.server.port}` };
  }

  it("refuses new tasks without partial changes if Redis is out of memory", async () => {
    // The fields of a hash table would have no fixed order to compare.
    await rig.server.admin.config("SET", "hash-max-ziplist-value", "100000");
    const queue = rig.connect().queue("full", { attempts: 1 });
    const worker = failAll(queue);
    await queue.enqueue("kind", null, { id: "dead" });
    await until(queue, "dead", "failed");
    await worker.stop();
    await queue.enqueue("kind", null, { id: "queued" });
    await queue.schedule("tick", { everyMs: 3_600_000 }, "kind", null);
    const before = await everythingIn(rig.server);
    await rig.server.admin.config("SET", "maxmemory", "1");
    const calls: Record<string, () => Promise<unknown>> = {
      enqueue: () => queue.enqueue("kind", null, { deduplicate: "key" }),
      enqueueMany: () => enqueueAll(queue, ["one", "two"]),
      delayed: () => queue.enqueue("kind", null, { delayMs: 1_000 }),
      requeue: () => queue.deadLetters.requeue("dead"),
      schedule: () => queue.schedule("tock", { everyMs: 1_000 }, "kind", null),
      progress: () => queue.publishProgress("queued", { progress: 1 }),
      pause: () => queue.pause(),
    };
    for (const [name, call] of Object.entries(calls)) {
      expect(await faultOf(call()), name).to.include({ code: "REDIS_REFUSED" });
    }
    expect(await everythingIn(rig.server)).to.deep.equal(before);
    expect(await queue.deadLetters.purge("dead"), "what frees memory is done").to.equal(1);
  });

  it("finishes, retries and cancels existing tasks if Redis is out of memory", async () => {
    const queue = rig.connect().queue("drain", { attempts: 2, backoff: 10 });
    const renewed = deferred();
    rig.undo(renewed.resolve);
    const ids = ["sound", "twice", "long", "delayed", "cancelled"];
    for (const id of ids.slice(0, 3)) await queue.enqueue("kind", null, { id });
    await queue.enqueue("kind", null, { id: "delayed", delayMs: 300 });
    await queue.enqueue("kind", null, { id: "cancelled", delayMs: 60_000 });
    await queue.enqueue("kind", null, { id: "lost", priority: 1 });
    const other = rig.connect().queue("drain");
    // A worker that claims the task and then disappears.
    const lost = other.worker(() => renewed.promise, { leaseMs: 60_000 });
    await until(queue, "lost", "running");
    await lost.stop({ graceMs: 0 });
    await rig.server.admin.zadd("sse:queue:{tasks}:drain:leases", 1, "lost");
    await rig.server.admin.config("SET", "maxmemory", "1");
    queue.worker(
      async ({ task, attempt }) => {
        if (task.id === "twice" && attempt === 1) throw new Error("once more");
        if (task.id === "long") await renewed.promise;
      },
      { concurrency: 10, leaseMs: 300, pollMs: 50, onError: () => {} },
    );
    for (const id of ["sound", "twice", "delayed", "lost"]) await until(queue, id);
    expect(await queue.cancel("cancelled")).to.equal(true);
    await until(queue, "long", "running");
    renewed.resolve();
    await until(queue, "long");
    expect(await queue.get("long")).to.include({ attempt: 1 });
  });

  it("completes the tasks of a user without the right to publish on task channels or to wake workers", async () => {
    for (const [user, ...channels] of [["mute", "&sse:*"], ["deaf"]] as const) {
      const queue = rig.connect(await loginAs(user, ...channels)).queue(user, { backoff: 1 });
      queue.worker(
        async ({ attempt, progress, write }) => {
          await progress(50);
          await write("piece");
          if (attempt === 1) throw new Error("once more");
        },
        { pollMs: 20, onError: () => {} },
      );
      await queue.enqueue("kind", null, { id: user });
      await until(queue, user);
      expect((await queue.counts()).totals).to.include({ enqueued: 1, succeeded: 1, retried: 1, refused: 0 });
      expect(await loggedOf(rig.server, user, "chunk")).to.deep.equal(["piece", "piece"]);
    }
  });

  for (const protocol of [2, 3] as const) {
    it(`works over RESP${protocol}`, async () => {
      const redis = { host: "127.0.0.1", port: rig.server.port, protocol };
      const queue = rig.connect({ redis }).queue("resp", { rateLimit: { max: 100, intervalMs: 10 } });
      await queue.schedule("tick", { everyMs: 100 }, "kind", null);
      queue.worker(({ task }) => task.id);
      await queue.enqueue("kind", null, { id: "resp", delayMs: 20, priority: -100 });
      await until(queue, "resp");
      await eventually(async () => expect((await queue.counts()).totals.succeeded).to.be.greaterThan(2));
      const { tasks, next } = await queue.list("succeeded", { limit: 1 });
      expect(tasks[0]).to.include({ status: "succeeded", result: tasks[0]!.id });
      expect((await queue.list("succeeded", { limit: 1, cursor: next! })).tasks[0]!.id).to.not.equal(
        tasks[0]!.id,
      );
    });
  }
});
