import { expect } from "chai";

import type { QueueService, RedisSse } from "../../lib/index.js";
import { QueueStore } from "../../lib/queue/queue-store.js";
import { claimTasks, type ClaimReply } from "../../lib/queue/scripts/claim.js";
import { renewLeases, settleTasks } from "../../lib/queue/scripts/settle.js";
import { faultOf } from "../support/service.js";
import { describeQueueFaults, everythingIn } from "../support/queue-fault-rig.js";

const META = "sse:queue:{tasks}:types";
const TASK = "sse:task:{tasks}:";
const SETS = ["ready", "delayed", "leases", "succeeded", "failed", "cancelled", "unreadable"] as const;
const HOUR_MS = 3_600_000;

/** The keys that get a wrong type, one at a time. */
const POSITIONS = [
  META,
  ...[...SETS, "due", "schedules", "once:key", "claim:me"].map((name) => `${META}:${name}`),
  ...["ready", "due", "lost", "mine", "failed"].flatMap((id) => [
    `${TASK}${id}`,
    `sse:pos:{tasks}:task_progress:${id}`,
    `sse:log:{tasks}:task_progress:${id}`,
  ]),
];

describeQueueFaults("a queue with a key of the wrong type", (rig) => {
  let sse: RedisSse;
  let queue: QueueService;
  let store: QueueStore;
  let token: string;

  const claim = (want: number, call: string): Promise<ClaimReply> =>
    store.run(claimTasks, [60_000, want, call, 3, HOUR_MS, "lost", "", "", "me"]);

  beforeEach(async () => {
    // The fields of a hash table would have no fixed order to compare.
    await rig.server.admin.config("SET", "hash-max-ziplist-value", "100000");
    sse = rig.connect();
    queue = sse.queue("types");
    store = new QueueStore({
      name: "types",
      keyPrefix: "sse:",
      commands: () => rig.server.admin,
      newEpoch: () => "0000000a",
      keepEvents: 100,
      results: { maxCount: 100, maxBytes: 1e9, maxPayloadBytes: 1e6 },
    });
    token = "call-0";
    // One task in each state. Two tasks are claimed, and the lease of one of them expires.
    for (const id of ["lost", "mine"]) await queue.enqueue("kind", null, { id });
    await claim(2, token);
    await queue.enqueue("kind", null, { id: "failed" });
    await claim(1, "call-1");
    await store.run(settleTasks, [`call-1\nfailed\n0\n0\n${HOUR_MS}\nno`, 1, "failed", "no"]);
    await queue.enqueue("kind", null, { id: "cancelled" });
    await queue.cancel("cancelled");
    await rig.server.admin.zadd(`${META}:leases`, 1, "lost");
    await queue.enqueue("kind", null, { id: "ready", deduplicate: "key" });
    await queue.enqueue("kind", null, { id: "due", delayMs: HOUR_MS });
    await rig.server.admin.zadd(`${META}:delayed`, 1, "due");
    await rig.server.admin.zadd(`${META}:unreadable`, Date.now(), "gone");
    await queue.schedule("tick", { everyMs: HOUR_MS }, "kind", null);
    await queue.publishProgress("ready", { progress: 1 });
  });

  const moves: Record<string, () => Promise<unknown>> = {
    claim: () => claim(10, "call-2"),
    "claim again": () => claim(2, "call-0"),
    succeed: () =>
      store.run(settleTasks, [`${token}\nsucceeded\n100\n0\n${HOUR_MS}\ndone`, 1, "mine", "null"]),
    retry: () => store.run(settleTasks, [`${token}\nretry\n0\n50\n${HOUR_MS}\nagain`, 1, "mine", "no"]),
    "give back": () => store.run(settleTasks, [`${token}\nback\n0\n0\n0\n`, 1, "mine", ""]),
    renew: () => store.run(renewLeases, [60_000, "mine", token]),
    cancel: () => queue.cancel("ready"),
    "cancel a running task": () => queue.cancel("mine"),
    enqueue: () => queue.enqueue("kind", null, { id: "new", deduplicate: "key" }),
    "enqueue later": () => queue.enqueue("kind", null, { id: "new", delayMs: HOUR_MS, deduplicate: "other" }),
    "enqueue many": () =>
      queue.enqueueMany(["new", "new-2"].map((id) => ({ kind: "kind", payload: null, options: { id } }))),
    "enqueue an existing id": () => queue.enqueue("kind", null, { id: "ready" }),
    report: () => queue.publishProgress("ready", { progress: 50 }),
    requeue: () => queue.deadLetters.requeue(["failed", "cancelled"]),
    schedule: () => queue.schedule("tock", { everyMs: HOUR_MS }, "kind", null),
    unschedule: () => queue.unschedule("tick"),
    pause: () => queue.pause(),
    counts: () => queue.counts(),
    list: () => Promise.all((["queued", "delayed", "running", "failed"] as const).map((s) => queue.list(s))),
    "list unreadable tasks": () => queue.listUnreadable(),
    get: () => queue.get("ready"),
    "remove a running task": () => queue.remove("mine").catch((error: { code: string }) => keepKnown(error)),
    "clean nothing": () => queue.clean({ state: "failed", olderThanMs: HOUR_MS }),
    "obliterate with a running task": () =>
      queue.obliterate().catch((error: { code: string }) => keepKnown(error)),
  };

  const keepKnown = (error: { code: string }): void => {
    if (error.code !== "TASK_RUNNING") throw error;
  };

  /** All ids in the sets of the queue, and in the set that was renamed to `saved`. */
  async function ids(): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    for (const key of [...SETS.map((set) => `${META}:${set}`), "saved"]) {
      if ((await rig.server.admin.type(key)) !== "zset") continue;
      for (const id of await rig.server.admin.zrange(key, "0", "-1")) found.add(id);
    }
    return found;
  }

  const codeOf = (move: () => Promise<unknown>): Promise<string> =>
    move().then(
      () => "",
      (error: unknown) => (error as { code: string }).code,
    );

  for (const [name, move] of Object.entries(moves)) {
    it(`loses no task and makes no partial change (${name})`, async () => {
      const start = await everythingIn(rig.server);
      for (const key of POSITIONS) {
        await rig.server.admin.flushdb();
        for (const [stored, dump] of Object.entries(start)) {
          await rig.server.admin.restore(stored, 0, Buffer.from(dump, "base64"));
        }
        if ((await rig.server.admin.exists(key)) === 1) await rig.server.admin.rename(key, "saved");
        for (const value of ["text", "list"]) {
          await rig.server.admin.del(key);
          if (value === "text") await rig.server.admin.set(key, "text");
          else await rig.server.admin.rpush(key, "list");
          const before = await ids();
          const state = await everythingIn(rig.server);
          const code = await codeOf(move);
          expect(code, `${key} as ${value}`).to.be.oneOf(["", "QUEUE_UNREADABLE", "TASK_EXISTS"]);
          const after = await ids();
          for (const id of before) expect(after.has(id), `${id} with ${key} as ${value}`).to.equal(true);
          if (code === "QUEUE_UNREADABLE")
            expect(await everythingIn(rig.server), `${key} as ${value}`).to.deep.equal(state);
          if (code === "") break; // The call has succeeded and changed its keys.
        }
      }
    });
  }

  it("rejects calls with QUEUE_UNREADABLE and the name of the queue, and recovers when the key is restored", async () => {
    await rig.server.admin.rename(`${META}:ready`, "saved");
    await rig.server.admin.set(`${META}:ready`, "text");
    const fault = await faultOf(queue.enqueue("kind", null));
    expect(fault).to.have.property("code", "QUEUE_UNREADABLE");
    expect((fault as Error).message).to.include('"types"');
    await sse.queue("sound").enqueue("kind", null);
    await rig.server.admin.rename("saved", `${META}:ready`);
    await queue.enqueue("kind", null, { id: "new" });
    expect((await claim(10, "call-9")).tasks.map(({ id }) => id)).to.include.members([
      "ready",
      "due",
      "lost",
      "new",
    ]);
  });
});
