import { expect } from "chai";

import type { RedisSse } from "../../../lib/index.js";
import { deferred, eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { untilIdle } from "../../support/service.js";

/** Counts the claims of a service's workers. */
function countClaims(sse: RedisSse): { count: number } {
  const claims = { count: 0 };
  const client = sse.pool.commands as unknown as Record<string, (...given: unknown[]) => unknown>;
  const claim = client["redisSseClaim"]!;
  client["redisSseClaim"] = (...given) => {
    claims.count++;
    return claim.apply(client, given);
  };
  return claims;
}

/** Tests many workers in one process. */
export function describeWakeUp(rig: QueueRig): void {
  describe("idle workers in one process", () => {
    for (const [concurrency, looks] of [
      [1, 3],
      [3, 1],
    ] as const) {
      it(`make at most ${looks} claims per task with 60 workers (concurrency ${concurrency})`, async () => {
        const begun: string[] = [];
        for (let index = 0; index < 60; index++) {
          rig.queue.worker(({ task }) => void begun.push(task.id), { concurrency });
        }
        await untilIdle(rig.sse);
        const claims = countClaims(rig.sse);
        const producer = await rig.elsewhere();
        for (const id of ["one", "two", "three"]) {
          await producer.enqueue("kind", null, { id });
          await rig.until(id, "succeeded");
          await untilIdle(rig.sse);
        }
        expect(begun).to.deep.equal(["one", "two", "three"]);
        // On a slow machine the workers may poll once.
        expect(claims.count).to.be.within(3, 3 * looks + 1);
      });
    }

    it("all start tasks if many are enqueued at once", async () => {
      const gate = deferred();
      for (let index = 0; index < 20; index++) rig.queue.worker(() => gate.promise, { concurrency: 2 });
      await untilIdle(rig.sse);
      const claims = countClaims(rig.sse);
      const producer = await rig.elsewhere();
      await producer.enqueueMany(Array.from({ length: 60 }, () => ({ kind: "kind", payload: null })));
      await eventually(() => expect(rig.queue.statistics.running).to.equal(40), 3_000);
      expect(claims.count).to.be.below(50);
      gate.resolve();
      await eventually(async () => expect((await rig.queue.counts()).succeeded).to.equal(60), 15_000);
    });

    it("start a delayed task in time even if the worker that waited for it is busy or has stopped", async () => {
      const gate = deferred();
      const ids: string[] = [];
      const handler = async ({ task }: { task: { id: string; kind: string } }): Promise<void> => {
        ids.push(task.id);
        if (task.kind === "long") await gate.promise;
      };
      const workers = Array.from({ length: 6 }, () => rig.queue.worker(handler));
      await untilIdle(rig.sse);
      const producer = await rig.elsewhere();
      await producer.enqueue("kind", null, { id: "late", delayMs: 700 });
      await untilIdle(rig.sse);
      for (const id of ["a", "b"]) await producer.enqueue("long", null, { id });
      await eventually(() => expect(ids).to.include.members(["a", "b"]));
      const idle = workers.slice(0, 5).filter((worker) => worker.running === 0);
      await Promise.all(idle.map((worker) => worker.stop()));
      await eventually(() => expect(ids).to.include("late"), 2_500);
      gate.resolve();
    });
  });
}
