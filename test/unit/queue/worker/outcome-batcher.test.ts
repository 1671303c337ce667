import { expect } from "chai";

import { RedisSseError } from "../../../../lib/index.js";
import { OutcomeBatcher } from "../../../../lib/queue/worker/outcome-batcher.js";
import type { TaskLease } from "../../../../lib/queue/worker/task-lease.js";
import type { TaskOutcome, WorkerPort } from "../../../../lib/queue/worker/worker-port.js";
import { settle } from "../../../support/eventually.js";
import { leaseOf, ScriptedPort } from "../../../support/scripted-port.js";

const OUTCOME: TaskOutcome = {
  verdict: "succeeded",
  progress: 100,
  message: "done",
  content: "null",
  delayMs: 0,
  ttlMs: 1_000,
};

function leaseWithId(id: string): TaskLease {
  const lease = leaseOf();
  return { ...lease, task: { ...lease.task, id } };
}

/** A queue that rejects each batch that contains the task `refused`. It records all batches. */
class RefusingPort extends ScriptedPort {
  readonly batches: string[] = [];
  fault: RedisSseError = new RedisSseError("REDIS_REFUSED", "Redis refused the command: NOPERM");
  refused = "bad";

  override settle(entries: Parameters<WorkerPort["settle"]>[0]): ReturnType<WorkerPort["settle"]> {
    const ids = entries.map(({ lease }) => lease.task.id);
    this.batches.push(ids.join(" "));
    return ids.includes(this.refused) ? Promise.reject(this.fault) : Promise.resolve(ids.map(() => true));
  }
}

describe("OutcomeBatcher", () => {
  let port: RefusingPort;
  let outcomes: OutcomeBatcher;
  let stored: string[];
  let wanted: boolean;

  beforeEach(() => {
    port = new RefusingPort();
    outcomes = new OutcomeBatcher(port);
    stored = [];
    wanted = true;
    for (const id of ["a", "bad", "b"]) {
      void outcomes
        .settle(leaseWithId(id), OUTCOME, () => wanted)
        .then((taken) => stored.push(`${id} ${taken}`));
    }
  });

  afterEach(() => outcomes.close());

  it("stores the other outcomes of a batch if Redis rejects one of them", async () => {
    await settle();
    expect(port.batches).to.deep.equal(["a bad b", "a", "bad", "b"]);
    expect(stored).to.deep.equal(["a true", "b true"]);
  });

  for (const [says, end, taken] of [
    ["until it is stored", () => (port.refused = ""), "true"],
    ["until it is not needed any more", () => (wanted = false), "null"],
  ] as const) {
    it(`retries the rejected outcome alone ${says}`, async () => {
      await settle();
      port.clock.advance(200);
      await settle();
      expect(port.batches.slice(4)).to.deep.equal(["bad"]);
      end();
      port.clock.advance(400);
      await settle();
      expect(stored).to.deep.equal(["a true", "b true", `bad ${taken}`]);
      expect(port.clock.pending, "timers").to.equal(0);
    });
  }

  for (const [code, message] of [
    ["REDIS_UNAVAILABLE", "Redis cannot be reached"],
    ["REDIS_REFUSED", "Redis refused the command: OOM"],
  ] as const) {
    it(`does not split a batch after a temporary error: ${message}`, async () => {
      port.fault = new RedisSseError(code, message);
      await settle();
      port.clock.advance(200);
      await settle();
      expect(port.batches).to.deep.equal(["a bad b", "a bad b"]);
    });
  }
});
