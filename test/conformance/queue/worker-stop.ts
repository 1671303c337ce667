import { expect } from "chai";

import { RedisSseError, type TaskContext } from "../../../lib/index.js";
import { deferred, eventually, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf, untilIdle } from "../../support/service.js";

/** Tests how workers and their services stop. */
export function describeWorkerStop(rig: QueueRig): void {
  describe("stopping worker", () => {
    it("lets running tasks end and starts no others", async () => {
      await rig.queue.enqueue("kind", null, { id: "under-way" });
      await rig.queue.enqueue("kind", null, { id: "waiting" });
      const release = deferred();
      let aborted = false;
      const worker = rig.queue.worker(async ({ signal }) => {
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
      expect(await rig.queue.get("under-way")).to.include({ status: "succeeded", result: "whole" });
      expect(await rig.queue.get("waiting")).to.include({ status: "queued", attempt: 0 });
      expect(worker.running).to.equal(0);
    });

    it("gives back tasks that have not ended after graceMs and aborts their signals", async () => {
      const clock = new FakeClock();
      const slow = await rig.service({ clock });
      await rig.queue.enqueue("kind", null, { id: "slow" });
      const contexts: TaskContext[] = [];
      const end = deferred();
      const worker = slow.queue(rig.name).worker((context) => {
        contexts.push(context);
        return end.promise;
      });
      await eventually(() => expect(contexts).to.have.length(1));
      const { signal, progress, write } = contexts[0]!;
      const stopped = worker.stop({ graceMs: 1_000 });
      clock.advance(999);
      await settle();
      expect(signal.aborted).to.equal(false);
      await rig.until("slow", "running");
      clock.advance(1);
      await stopped;
      expect(signal.aborted).to.equal(true);
      expectFault(signal.reason, "CLOSED");
      expect(await rig.queue.get("slow")).to.include({ status: "queued", attempt: 0 });
      expect(await rig.members("leases")).to.deep.equal([]);
      expect(slow.queue(rig.name).statistics).to.include({ requeued: 1, workers: 0, running: 0 });
      // Later calls of the handler have no effect.
      await progress(99, "late");
      expectFault(await faultOf(write("late")), "ABORTED");
      end.resolve();
      await settle();
      expect(await rig.queue.get("slow")).to.include({ status: "queued", progress: 0 });
      const taken = deferred<number>();
      rig.queue.worker(({ attempt }) => taken.resolve(attempt));
      expect(await taken.promise).to.equal(1);
    });

    it("stops when its signal aborts", async () => {
      const stopping = new AbortController();
      const worker = rig.queue.worker(rig.hang, { signal: stopping.signal });
      await untilIdle(rig.sse);
      stopping.abort();
      await eventually(() => expect(rig.queue.statistics.workers).to.equal(0));
      await rig.queue.enqueue("kind", null);
      await worker.stop();
      expect(await rig.members("ready")).to.have.length(1);
    });

    it("stops with its service, which then rejects new workers and tasks", async () => {
      const clock = new FakeClock();
      const closing = await rig.service({ clock });
      await rig.queue.enqueue("kind", null, { id: "closed" });
      const contexts: TaskContext[] = [];
      const kept = closing.queue(rig.name);
      kept.worker((context) => {
        contexts.push(context);
        return rig.hang(context);
      });
      await eventually(() => expect(contexts).to.have.length(1));
      const closed = closing.close();
      clock.advance(1_999);
      await settle();
      expect(contexts[0]!.signal.aborted, "within the default graceMs").to.equal(false);
      clock.advance(1);
      await closed;
      expect(contexts[0]!.signal.aborted).to.equal(true);
      expect(await rig.queue.get("closed")).to.include({ status: "queued", attempt: 0 });
      expect(() => kept.worker(rig.hang)).to.throw(RedisSseError, /closed/);
      expectFault(await faultOf(kept.enqueue("kind", null)), "CLOSED");
      expectFault(await faultOf(kept.enqueueMany([{ kind: "kind", payload: null }])), "CLOSED");
      expectFault(await faultOf(kept.schedule("s", { everyMs: 100 }, "kind", null)), "CLOSED");
      expect(await rig.members("ready")).to.deep.equal(["closed"]);
      expect(clock.pending, "timers").to.equal(0);
    });

    it("cannot be started on a queue of a closed service", async () => {
      const clock = new FakeClock();
      const closed = await rig.service({ clock });
      await closed.close();
      expect(() => closed.queue(rig.name)).to.throw(RedisSseError, /closed/);
      await settle();
      expect(clock.pending, "timers").to.equal(0);
    });
  });
}
