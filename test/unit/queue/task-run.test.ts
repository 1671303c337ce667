import { expect } from "chai";

import { RedisSseError, TaskFailure, type ProgressReport, type TaskContext } from "../../../lib/index.js";
import { parseTask } from "../../../lib/queue/task.js";
import { TaskRun, type TaskHandling } from "../../../lib/queue/task-run.js";
import type { TaskLease, TaskOutcome, WorkerPort } from "../../../lib/queue/worker-port.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";

const LEASE: TaskLease = {
  task: parseTask(["id", "a", "status", "running", "attempt", "2", "progress", "30"])!,
  token: "token",
};
const LEASE_MS = 3_000;

const unavailable = (): Promise<never> =>
  Promise.reject(new RedisSseError("REDIS_UNAVAILABLE", "Redis cannot be reached"));

/** A queue whose answers a test replaces; what it was asked is in `calls`. */
class ScriptedPort implements WorkerPort {
  readonly clock = new FakeClock();
  readonly calls: string[] = [];
  readonly outcomes: TaskOutcome[] = [];
  readonly reports: ProgressReport[] = [];
  onRenew: () => Promise<boolean> = () => Promise.resolve(true);
  onReport: () => Promise<boolean> = () => Promise.resolve(true);
  onFinish: (outcome: TaskOutcome) => Promise<boolean> = () => Promise.resolve(true);
  onGiveBack: () => Promise<boolean> = () => Promise.resolve(true);

  onWake(): () => void {
    throw new Error("not for a run");
  }

  claim(): Promise<TaskLease | null> {
    throw new Error("not for a run");
  }

  renew(lease: TaskLease, leaseMs: number): Promise<boolean> {
    expect([lease, leaseMs]).to.deep.equal([LEASE, LEASE_MS]);
    this.calls.push("renew");
    return this.onRenew();
  }

  report(lease: TaskLease, report: ProgressReport): Promise<boolean> {
    expect(lease).to.equal(LEASE);
    this.calls.push("report");
    this.reports.push(report);
    return this.onReport();
  }

  finish(lease: TaskLease, outcome: TaskOutcome): Promise<boolean> {
    expect(lease).to.equal(LEASE);
    this.calls.push("finish");
    this.outcomes.push(outcome);
    return this.onFinish(outcome);
  }

  giveBack(lease: TaskLease): Promise<boolean> {
    expect(lease).to.equal(LEASE);
    this.calls.push("giveBack");
    return this.onGiveBack();
  }
}

describe("TaskRun", () => {
  let port: ScriptedPort;
  let ends: number;
  let told: unknown[];
  let context: TaskContext;

  beforeEach(() => {
    port = new ScriptedPort();
    ends = 0;
    told = [];
  });

  it("tells the app what a handler threw, unless that was meant for whoever watches", async () => {
    const mishap = new TypeError("the real reason");
    await start(() => {
      throw mishap;
    }).done;
    await start(() => {
      throw new TaskFailure("out of paper");
    }).done;
    expect(told).to.deep.equal([mishap]);
  });

  /** A run under way. */
  function start(handler: (context: TaskContext) => unknown): TaskRun {
    const handling: TaskHandling = {
      handler: (given) => {
        context = given;
        return handler(given);
      },
      leaseMs: LEASE_MS,
      onError: (error) => told.push(error),
    };
    const run = new TaskRun(port, LEASE, handling, () => void ends++);
    run.start();
    return run;
  }

  const hang = (): Promise<never> => new Promise(() => {});

  /** Over, once, with nothing left behind; whatever the clock does, nothing is asked any more. */
  async function expectOver(): Promise<void> {
    expect(ends, "onDone").to.equal(1);
    expect(port.clock.pending, "timers").to.equal(0);
    const asked = port.calls.length;
    port.clock.advance(10 * LEASE_MS);
    await settle();
    expect(port.calls).to.have.length(asked);
    expect(ends, "onDone").to.equal(1);
  }

  describe("its handler", () => {
    it("gets the task, how often it was begun, and a signal that has not fired", async () => {
      const run = start(() => {});
      expect(context.task).to.equal(LEASE.task);
      expect(context.attempt).to.equal(2);
      expect(context.signal.aborted).to.equal(false);
      await run.done;
      await expectOver();
    });

    for (const [what, handler, result] of [
      ["a value", () => 7, 7],
      ["a promise", async () => ({ pages: 3 }), { pages: 3 }],
      ["nothing", () => {}, null],
      ["null", () => null, null],
      ["false", () => false, false],
    ] as const) {
      it(`that returns ${what} succeeds`, async () => {
        await start(handler).done;
        expect(port.outcomes).to.deep.equal([
          { status: "succeeded", progress: 100, message: "done", result },
        ]);
        await expectOver();
      });
    }

    for (const [what, fault, message] of [
      ["a TaskFailure", new TaskFailure("page 3 is missing"), "page 3 is missing"],
      ["a TaskFailure with too much to say", new TaskFailure("x".repeat(5_000)), "x".repeat(1_000)],
      ["another error", new Error("password=hunter2"), "failed"],
      ["an error of ours", new RedisSseError("INTERNAL", "hunter2"), "failed"],
      ["no error at all", "hunter2", "failed"],
      ["undefined", undefined, "failed"],
    ] as const) {
      for (const [how, handler] of [
        [
          "throws",
          () => {
            throw fault;
          },
        ],
        // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- handlers do
        ["rejects with", () => Promise.reject(fault)],
      ] as const) {
        it(`that ${how} ${what} fails, at the progress that the task had`, async () => {
          await start(handler).done;
          expect(port.outcomes).to.deep.equal([{ status: "failed", progress: 30, message, result: null }]);
          await expectOver();
        });
      }
    }
  });

  describe("its lease", () => {
    it("is renewed at each third of it, while the handler runs and no longer", async () => {
      const gate = deferred();
      const run = start(() => gate.promise);
      for (const renewals of [0, 1, 2, 3, 4]) {
        expect(port.calls).to.have.length(renewals);
        port.clock.advance(999);
        await settle();
        expect(port.calls).to.have.length(renewals);
        port.clock.advance(1);
        await settle();
      }
      gate.resolve();
      await run.done;
      expect(port.calls.at(-1)).to.equal("finish");
      await expectOver();
    });

    it("is renewed while the outcome is on its way", async () => {
      const finish = deferred<boolean>();
      port.onFinish = () => finish.promise;
      const run = start(() => "result");
      await settle();
      port.clock.advance(1_000);
      await settle();
      expect(port.calls).to.deep.equal(["finish", "renew"]);
      finish.resolve(true);
      await run.done;
      await expectOver();
    });

    it("is asked for again after a renewal that failed", async () => {
      port.onRenew = unavailable;
      const gate = deferred();
      const run = start(() => gate.promise);
      for (const renewals of [1, 2]) {
        port.clock.advance(1_000);
        await settle();
        expect(port.calls).to.have.length(renewals);
      }
      expect(context.signal.aborted).to.equal(false);
      gate.resolve();
      await run.done;
      expect(port.outcomes).to.have.length(1);
      await expectOver();
    });

    it("that another worker has ends the run: the signal fires, and its result is not sent", async () => {
      port.onRenew = () => Promise.resolve(false);
      const gate = deferred();
      const run = start(() => gate.promise);
      port.clock.advance(1_000);
      await settle();
      expect(context.signal.aborted).to.equal(true);
      expect(ends).to.equal(1);
      gate.resolve();
      await run.done;
      expect(port.calls).to.deep.equal(["renew"]);
      await expectOver();
    });

    for (const answer of [true, false]) {
      it(`leaves no timer when a renewal is answered ${answer} after the end`, async () => {
        const renewal = deferred<boolean>();
        port.onRenew = () => renewal.promise;
        const gate = deferred();
        const run = start(() => gate.promise);
        port.clock.advance(1_000);
        gate.resolve();
        await run.done;
        renewal.resolve(answer);
        await settle();
        await expectOver();
      });
    }
  });

  describe("its progress", () => {
    it("goes to the queue, with an empty message where none is given", async () => {
      await start(async ({ progress }) => {
        await progress(10);
        await progress(20, "reading");
      }).done;
      expect(port.reports).to.deep.equal([
        { progress: 10, message: "" },
        { progress: 20, message: "reading" },
      ]);
      await expectOver();
    });

    it("is where a failure leaves the task", async () => {
      await start(async ({ progress }) => {
        await progress(60);
        throw new TaskFailure("no");
      }).done;
      expect(port.outcomes[0]).to.include({ status: "failed", progress: 60 });
    });

    it("that did not reach the queue is not where a failure leaves the task, nor a failure itself", async () => {
      port.onReport = unavailable;
      await start(async ({ progress }) => {
        await progress(60);
        throw new TaskFailure("by itself");
      }).done;
      expect(port.outcomes).to.deep.equal([
        { status: "failed", progress: 30, message: "by itself", result: null },
      ]);
      await expectOver();
    });

    it("that cannot be is told to the handler", async () => {
      port.onReport = () => Promise.reject(new RedisSseError("INVALID_TASK", "expected progress as ..."));
      const faults: unknown[] = [];
      await start(({ progress }) => progress(101).catch((error: unknown) => faults.push(error))).done;
      expect(faults).to.have.length(1);
      expect((faults[0] as RedisSseError).code).to.equal("INVALID_TASK");
      expect(port.outcomes[0]).to.include({ status: "succeeded" });
    });

    it("that is refused ends the run: the task is another worker's", async () => {
      port.onReport = () => Promise.resolve(false);
      const run = start(async ({ progress }) => {
        await progress(40);
        await progress(50);
      });
      await run.done;
      expect(context.signal.aborted).to.equal(true);
      expect(port.calls).to.deep.equal(["report"]);
      await expectOver();
    });

    it("is not sent after the end", async () => {
      await start(() => {}).done;
      await context.progress(50);
      expect(port.reports).to.deep.equal([]);
      await expectOver();
    });
  });

  describe("its end", () => {
    it("fires the signal, so that what the handler left behind ends too", async () => {
      await start(() => {}).done;
      expect(context.signal.aborted).to.equal(true);
    });

    for (const code of ["UNSERIALIZABLE", "TASK_TOO_LARGE"] as const) {
      it(`is a failure when the result is refused as ${code}`, async () => {
        port.onFinish = ({ status }) =>
          status === "succeeded"
            ? Promise.reject(new RedisSseError(code, "expected result as ..."))
            : Promise.resolve(true);
        await start(async ({ progress }) => {
          await progress(80);
          return 1n;
        }).done;
        expect(port.outcomes.at(-1)).to.deep.equal({
          status: "failed",
          progress: 80,
          message: "the result could not be stored",
          result: null,
        });
        expect(port.outcomes).to.have.length(2);
        await expectOver();
      });
    }

    it("is stored again after a fault of Redis, at growing pauses, and its lease is kept meanwhile", async () => {
      port.onFinish = unavailable;
      let begun = 0;
      const run = start(() => {
        begun++;
        return "result";
      });
      await settle();
      for (const [index, pauseMs] of [200, 400, 800, 1_600, 3_200, 5_000, 5_000].entries()) {
        expect(port.outcomes).to.have.length(index + 1);
        port.clock.advance(pauseMs - 1);
        await settle();
        expect(port.outcomes, `within ${pauseMs} ms`).to.have.length(index + 1);
        port.clock.advance(1);
        await settle();
      }
      expect(port.calls).to.include("renew");
      expect(context.signal.aborted).to.equal(false);
      port.onFinish = () => Promise.resolve(true);
      port.clock.advance(5_000);
      await run.done;
      expect(
        new Set(port.outcomes.map(({ status, result }) => `${status}: ${String(result)}`)),
      ).to.deep.equal(new Set(["succeeded: result"]));
      expect(begun).to.equal(1);
      await expectOver();
    });

    it("is not stored again once another worker has the task", async () => {
      port.onFinish = unavailable;
      port.onRenew = () => Promise.resolve(false);
      const run = start(() => "result");
      await settle();
      port.clock.advance(1_000);
      await run.done;
      expect(context.signal.aborted).to.equal(true);
      await expectOver();
    });

    it("is not stored again once the task was given back", async () => {
      port.onFinish = unavailable;
      const run = start(() => "result");
      await settle();
      await run.giveBack();
      await run.done;
      expect(port.calls).to.deep.equal(["finish", "giveBack"]);
      await expectOver();
    });

    it("is the same when the queue refuses the outcome: another worker has the task", async () => {
      port.onFinish = () => Promise.resolve(false);
      await start(() => "result").done;
      await expectOver();
    });

    it("is awaited by done", async () => {
      const finish = deferred<boolean>();
      port.onFinish = () => finish.promise;
      let done = false;
      const run = start(() => {});
      void run.done.then(() => (done = true));
      await settle();
      expect(done).to.equal(false);
      finish.resolve(true);
      await run.done;
      await expectOver();
    });
  });

  describe("given back", () => {
    it("fires its signal and sends neither progress nor result", async () => {
      const gate = deferred();
      const run = start(() => gate.promise);
      await run.giveBack();
      expect(context.signal.aborted).to.equal(true);
      expect(port.calls).to.deep.equal(["giveBack"]);
      await context.progress(99);
      gate.resolve();
      await run.done;
      expect(port.calls).to.deep.equal(["giveBack"]);
      await expectOver();
    });

    it("twice is once", async () => {
      const run = start(hang);
      await Promise.all([run.giveBack(), run.giveBack()]);
      expect(port.calls).to.deep.equal(["giveBack"]);
      await expectOver();
    });

    it("does not reject when the queue cannot be reached", async () => {
      port.onGiveBack = unavailable;
      const run = start(hang);
      await run.giveBack();
      await expectOver();
    });

    it("after its end is nothing", async () => {
      const run = start(() => {});
      await run.done;
      await run.giveBack();
      expect(port.calls).to.deep.equal(["finish"]);
      await expectOver();
    });
  });
});
