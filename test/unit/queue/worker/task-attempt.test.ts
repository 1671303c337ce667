import { expect } from "chai";

import { RedisSseError, TaskFailure, type TaskContext } from "../../../../lib/index.js";
import { OutcomeBatcher } from "../../../../lib/queue/worker/outcome-batcher.js";
import { TaskAttempt, type TaskRunOwner } from "../../../../lib/queue/worker/task-attempt.js";
import type { TaskLease } from "../../../../lib/queue/worker/task-lease.js";
import { deferred, settle } from "../../../support/eventually.js";
import { leaseOf, ScriptedPort } from "../../../support/scripted-port.js";
import { expectFault, faultOf } from "../../../support/service.js";

const unavailable = (): Promise<never> =>
  Promise.reject(new RedisSseError("REDIS_UNAVAILABLE", "Redis cannot be reached"));

describe("TaskAttempt", () => {
  let port: ScriptedPort;
  let decided: number;
  let ends: number;
  let told: unknown[];
  let context: TaskContext;

  beforeEach(() => {
    port = new ScriptedPort();
    decided = 0;
    ends = 0;
    told = [];
  });

  const owner: TaskRunOwner = { onDecided: () => void decided++, onDone: () => void ends++ };

  /** Starts an attempt. */
  function start(handler: (context: TaskContext) => unknown, lease: TaskLease = leaseOf()): TaskAttempt {
    const handling = {
      handler: (given: TaskContext) => {
        context = given;
        return handler(given);
      },
      onError: (error: unknown) => told.push(error),
    };
    const run = new TaskAttempt(port, new OutcomeBatcher(port), lease, handling, owner);
    run.start();
    return run;
  }

  /** Expects that the attempt ended exactly once, left no timer, and makes no call later. */
  async function expectOver(): Promise<void> {
    await settle();
    expect(ends, "onDone").to.equal(1);
    expect(port.clock.pending, "timers").to.equal(0);
    const asked = port.calls.length;
    port.clock.advance(60_000);
    await settle();
    expect(port.calls).to.have.length(asked);
    expect(ends, "onDone").to.equal(1);
  }

  it("cuts a long message, and keeps the progress of an earlier attempt", async () => {
    start(() => {
      throw new TaskFailure("x".repeat(1_500));
    });
    await expectOver();
    const [[, stored]] = port.settled as [(typeof port.settled)[number]];
    expect(stored).to.include({ verdict: "failed", progress: 30, message: "x".repeat(1_000) });
    expect(stored).to.include({ delayMs: 1_000, ttlMs: 7 * 24 * 3_600_000 });
    expect(stored.content.split("\n")[0]).to.equal(`TaskFailure: ${"x".repeat(1_500)}`);
  });

  describe("timeoutMs", () => {
    it("aborts the signal and settles the attempt once at the timeout", async () => {
      const gate = deferred();
      start(
        ({ signal }) => {
          signal.addEventListener("abort", () => told.push(signal.reason));
          return gate.promise;
        },
        leaseOf({ settings: { timeoutMs: 500 } }),
      );
      port.clock.advance(499);
      await settle();
      expect(port.settled).to.deep.equal([]);
      port.clock.advance(1);
      gate.resolve();
      await expectOver();
      expect(port.settled).to.have.length(1);
      expect(port.settled[0]![1]).to.include({ verdict: "retry", message: "timed out" });
      expectFault(told[0], "TIMEOUT");
      expect(told, "the reason of the signal and the error for onError").to.deep.equal([told[0], told[0]]);
    });
  });

  describe("lose()", () => {
    it("waits for the queue's answer if the outcome has already been sent", async () => {
      const answer = deferred<boolean>();
      port.onSettle = () => answer.promise;
      const run = start(() => "result");
      await settle();
      run.lose();
      expect(ends).to.equal(0);
      answer.resolve(false);
      await expectOver();
      expect(port.counted).to.deep.equal(["started", "refused"]);
    });
  });

  describe("end of the attempt", () => {
    it("returns an aborted signal and accepts no more output after the end", async () => {
      const run = start(() => {});
      await settle();
      run.cancel();
      await run.giveBack();
      await expectOver();
      expectFault(context.signal.reason, "ABORTED");
      await context.progress(50);
      expectFault(await faultOf(context.write("late")), "ABORTED");
      expect(port.reports).to.deep.equal([]);
    });

    it("retries storing the outcome with growing pauses until Redis accepts it", async () => {
      port.onSettle = unavailable;
      let begun = 0;
      start(() => ++begun);
      await settle();
      for (const [index, pauseMs] of [200, 400, 800, 1_600, 3_200, 5_000, 5_000].entries()) {
        expect(port.settled).to.have.length(index + 1);
        port.clock.advance(pauseMs - 1);
        await settle();
        expect(port.settled, `within ${pauseMs} ms`).to.have.length(index + 1);
        port.clock.advance(1);
        await settle();
      }
      expect(ends).to.equal(0);
      port.onSettle = () => Promise.resolve(true);
      port.clock.advance(5_000);
      await expectOver();
      expect(new Set(port.settled.map(([, { content }]) => content))).to.deep.equal(new Set(["1"]));
      expect(begun).to.equal(1);
    });
  });

  describe("cancel()", () => {
    it("aborts the signal and stores nothing, also if Redis has rejected the outcome before", async () => {
      port.onSettle = unavailable;
      const run = start(({ signal }) => expect(signal.aborted).to.equal(false));
      await settle();
      run.cancel();
      port.clock.advance(60_000);
      await expectOver();
      expectFault(context.signal.reason, "CANCELLED");
      expect(port.settled).to.have.length(1);
      expect(told, "onError").to.deep.equal([]);
    });
  });

  describe("giveBack()", () => {
    it("does nothing if the outcome has already been sent", async () => {
      const answer = deferred<boolean>();
      port.onSettle = () => answer.promise;
      const run = start(() => "result");
      await settle();
      await run.giveBack();
      answer.resolve(true);
      await expectOver();
      expect(port.finishedIds).to.deep.equal(["a"]);
      expect(port.givenBack).to.deep.equal([]);
    });
  });
});
