import { getEventListeners } from "node:events";

import { expect } from "chai";

import { ConfigError, RedisSseError, type TaskHandler, type WorkerOptions } from "../../../../lib/index.js";
import { Worker } from "../../../../lib/queue/worker/worker.js";
import type { ClaimReply } from "../../../../lib/queue/scripts/claim.js";
import { deferred, settle } from "../../../support/eventually.js";
import { claimOf, NOTHING, ScriptedPort } from "../../../support/scripted-port.js";

describe("Worker", () => {
  let port: ScriptedPort;
  let workers: Worker[];
  let stops: number;

  beforeEach(() => {
    port = new ScriptedPort();
    workers = [];
    stops = 0;
  });

  afterEach(async () => {
    for (const worker of workers) await worker.stop();
    expect(port.clock.pending, "timers").to.equal(0);
    expect(port.listeners.size, "listeners").to.equal(0);
    expect(stops, "onStopped").to.equal(workers.length);
  });

  function start(handler: TaskHandler, options: WorkerOptions = {}): Worker {
    const worker = new Worker(port, handler, options, () => void stops++);
    workers.push(worker);
    return worker;
  }

  async function pass(milliseconds: number): Promise<void> {
    port.clock.advance(milliseconds);
    await settle();
  }

  const unavailable = (): Promise<never> =>
    Promise.reject(new RedisSseError("REDIS_UNAVAILABLE", "Redis cannot be reached"));

  for (const [says, options, pollMs] of [
    ["pollMs", { pollMs: 1_000 }, 1_000],
    ["5 seconds by default", {}, 5_000],
  ] as const) {
    it(`claims as soon as it is created and polls again after ${says}`, async () => {
      start(() => {}, options);
      await settle();
      expect(port.claimed).to.equal(1);
      await pass(pollMs - 1);
      expect(port.claimed).to.equal(1);
      await pass(1);
      expect(port.claimed).to.equal(2);
    });
  }

  it("polls again for a schedule even if its last task made the worker busy", async () => {
    const due = { name: "tick", due: 1, content: "" };
    const gate = deferred();
    port.claims.push(() => Promise.resolve({ ...claimOf("a"), waitMs: 30_000, schedules: [due] }));
    port.claims.push(() => Promise.resolve({ ...NOTHING, schedules: [due] }));
    start(() => gate.promise);
    await settle();
    await pass(1);
    expect(port.fired, "each claim returns only schedules that are due").to.deep.equal(["tick", "tick"]);
    await pass(1);
    expect(port.claimed).to.equal(3);
    gate.resolve();
  });

  for (const [says, options, pauseMs] of [
    ["for half a second", {}, 500],
    ["for at most pollMs", { pollMs: 100 }, 100],
  ] as const) {
    it(`pauses ${says} after an error of the queue and then continues`, async () => {
      port.claims.push(unavailable, unavailable);
      port.give("a");
      start(() => {}, options);
      await settle();
      for (const claimed of [1, 2]) {
        expect(port.claimed).to.equal(claimed);
        await pass(pauseMs - 1);
        expect(port.claimed, "during the pause").to.equal(claimed);
        await pass(1);
      }
      expect(port.finishedIds).to.deep.equal(["a"]);
    });
  }

  it("does not lose a wake-up that arrives during a claim", async () => {
    const look = deferred<ClaimReply>();
    let done = 0;
    port.claims.push(() => look.promise);
    start(() => void done++);
    port.give("a");
    port.wake(); // The pending claim may have read the queue before this task was added.
    look.resolve(NOTHING);
    await settle();
    expect(done).to.equal(1);
  });

  it("starts new tasks while outcomes are being stored, up to twice its concurrency", async () => {
    const stored: (() => void)[] = [];
    port.onSettle = () => new Promise((resolve) => stored.push(() => resolve(true)));
    port.give("a", "b", "c", "d");
    const begun: string[] = [];
    const worker = start(({ task }) => void begun.push(task.id), { concurrency: 1 });
    await settle();
    expect(begun).to.deep.equal(["a", "b"]);
    expect(worker.running).to.equal(2);
    port.wake();
    await settle();
    expect(port.claimed).to.equal(2);
    stored.shift()!();
    await settle();
    expect(begun).to.deep.equal(["a", "b", "c"]);
    while (stored.length > 0) {
      stored.shift()!();
      await settle();
    }
    expect(begun).to.deep.equal(["a", "b", "c", "d"]);
    expect(worker.running).to.equal(0);
  });

  it("aborts only the attempt whose task was cancelled", async () => {
    const signals = new Map<string, AbortSignal>();
    port.give("a", "b");
    const worker = start(
      ({ task, signal }) => {
        signals.set(task.id, signal);
        return new Promise((_, reject) => signal.addEventListener("abort", reject));
      },
      { concurrency: 2 },
    );
    await settle();
    port.wake("a");
    await settle();
    expect(signals.get("a")!.reason).to.have.property("code", "CANCELLED");
    expect(signals.get("b")!.aborted).to.equal(false);
    expect(worker.running).to.equal(1);
    port.wake("b");
    await worker.stop();
    expect(port.settled).to.deep.equal([]);
  });

  describe("stop()", () => {
    it("rejects invalid options and keeps running", async () => {
      const worker = start(() => {});
      for (const options of [5, null, { grace: 5 }, { graceMs: -1 }]) {
        expect(() => worker.stop(options as never)).to.throw(ConfigError);
      }
      expect(stops).to.equal(0);
    });

    it("returns the same promise for every call and uses the options of the first call", async () => {
      const signals: AbortSignal[] = [];
      port.give("a");
      const worker = start(({ signal }) => {
        signals.push(signal);
        return new Promise(() => {});
      });
      await settle();
      const stopped = worker.stop({ graceMs: 1_000 });
      expect(worker.stop({ graceMs: 0 })).to.equal(stopped);
      await pass(999);
      expect(signals[0]!.aborted).to.equal(false);
      port.clock.advance(1);
      await stopped;
      expect(worker.stop()).to.equal(stopped);
      expect(port.givenBack).to.deep.equal(["a"]);
    });

    it("gives back a task that arrives late without starting it, also after graceMs", async () => {
      const claim = deferred<ClaimReply>();
      let begun = 0;
      port.claims.push(() => claim.promise);
      const worker = start(() => void begun++);
      const stopped = worker.stop({ graceMs: 100 });
      await pass(100);
      expect(stops).to.equal(0);
      claim.resolve(claimOf("late"));
      await stopped;
      expect(begun).to.equal(0);
      expect(port.givenBack).to.deep.equal(["late"]);
    });

    it("does not shorten graceMs while a late task cannot be given back", async () => {
      const claim = deferred<ClaimReply>();
      const work = deferred();
      let refused = 0;
      port.onSettle = ({ verdict }) => {
        if (verdict !== "back" || refused === 2) return Promise.resolve(true);
        refused++;
        return unavailable();
      };
      port.give("under way");
      port.claims.push(() => claim.promise);
      let aborted = false;
      const worker = start(
        ({ signal }) => {
          signal.addEventListener(
            "abort",
            () => (aborted ||= (signal.reason as { code: string }).code === "CLOSED"),
          );
          return work.promise;
        },
        { concurrency: 2 },
      );
      await settle();
      const stopped = worker.stop({ graceMs: 5_000 });
      claim.resolve(claimOf("late"));
      await settle();
      for (let tries = 0; tries < 2; tries++) {
        await pass(400);
      }
      expect(port.givenBack).to.deep.equal(["late", "late", "late"]);
      expect(stops).to.equal(0);
      work.resolve();
      await stopped;
      expect(aborted).to.equal(false);
      expect(port.finishedIds).to.deep.equal(["under way"]);
    });

    it("drops outcomes that Redis does not store and makes no more calls", async () => {
      port.give("a");
      port.onSettle = unavailable;
      const worker = start(() => {});
      await settle();
      expect(port.finishedIds).to.deep.equal(["a"]);
      const stopped = worker.stop({ graceMs: 0 });
      await settle();
      port.clock.advance(1_000);
      await stopped;
      await settle();
      const calls = port.calls.length;
      await pass(60_000);
      expect(port.calls).to.have.length(calls);
    });

    it("waits at most one second for a queue that does not answer", async () => {
      const claim = deferred<ClaimReply>();
      const stored = deferred<boolean>();
      port.give("under way");
      port.claims.push(() => claim.promise);
      port.onSettle = () => stored.promise;
      const worker = start(() => new Promise(() => {}), { concurrency: 2 });
      await settle();
      const stopped = worker.stop({ graceMs: 500 });
      await pass(500);
      expect(port.givenBack).to.deep.equal(["under way"]);
      await pass(999);
      expect(stops).to.equal(0);
      port.clock.advance(1);
      await stopped;
      expect(stops).to.equal(1);
      expect(port.clock.pending, "timers").to.equal(0);
      // A task that arrives later is given back, not started.
      claim.resolve(claimOf("late"));
      await settle();
      expect(port.givenBack).to.deep.equal(["under way", "late"]);
      expect(worker.running).to.equal(0);
      stored.resolve(true);
      await settle();
    });

    it("can be called by a handler", async () => {
      port.give("a", "b");
      const worker = start(() => void worker.stop());
      await settle();
      await worker.stop();
      expect(port.finishedIds).to.deep.equal(["a"]);
    });
  });

  describe("signal", () => {
    it("starts no task if it has already aborted", async () => {
      port.give("a");
      await start(() => expect.fail("a task has started"), { signal: AbortSignal.abort() }).stop();
      expect(port.finishedIds).to.deep.equal([]);
    });

    it("has no listener left after the worker stops or its constructor throws", async () => {
      const { signal } = new AbortController();
      const worker = start(() => {}, { signal });
      expect(getEventListeners(signal, "abort")).to.have.length(1);
      await worker.stop();
      expect(getEventListeners(signal, "abort")).to.have.length(0);
      expect(() => start(() => {}, { signal, concurrency: 0 })).to.throw(ConfigError);
      expect(getEventListeners(signal, "abort")).to.have.length(0);
    });
  });

  it("accepts the smallest and the largest valid values", async () => {
    for (const options of [
      { concurrency: 1, leaseMs: 10, pollMs: 1 },
      { concurrency: 1_000, leaseMs: 24 * 3_600_000, pollMs: 5_000 },
    ]) {
      await start(() => {}, options).stop();
    }
  });
});
