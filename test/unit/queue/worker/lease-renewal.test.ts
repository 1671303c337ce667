import { expect } from "chai";

import type { TaskHandler } from "../../../../lib/index.js";
import { Worker } from "../../../../lib/queue/worker/worker.js";
import { deferred, settle } from "../../../support/eventually.js";
import { FakeClock } from "../../../support/fake-clock.js";
import { ScriptedPort } from "../../../support/scripted-port.js";

/** A clock whose timers run late, as on a busy event loop. */
class LateClock extends FakeClock {
  lateMs = 0;

  monotonic(): number {
    return this.now() + this.lateMs;
  }
}

class LatePort extends ScriptedPort {
  override readonly clock: LateClock = new LateClock();
}

describe("lease renewal", () => {
  let port: LatePort;

  beforeEach(() => {
    port = new LatePort();
  });

  const start = (handler: TaskHandler): Worker =>
    new Worker(port, handler, { leaseMs: 3_000, concurrency: 2 }, () => {});

  it("warns once if its timer is late by more than half of leaseMs", async () => {
    const gate = deferred();
    port.give("a");
    const worker = start(() => gate.promise);
    await settle();
    port.clock.lateMs = 1_500;
    port.clock.advance(1_000);
    await settle();
    expect(port.renewed).to.equal(1);
    expect(port.lines, "half a lease").to.deep.equal([]);
    for (let round = 0; round < 3; round++) {
      port.clock.lateMs += 1_501;
      port.clock.advance(1_000);
      await settle();
    }
    expect(port.lines).to.have.length(1);
    expect(port.lines[0]).to.include("queue q was 1501 ms late").and.to.include("3000 ms");
    gate.resolve();
    await worker.stop();
    expect(port.clock.pending).to.equal(0);
  });

  for (const [says, busyMs, warnings] of [
    ["warns about a handler that blocks longer than its lease", 9_000, 1],
    ["does not warn about a handler that blocks for less than its lease", 1_000, 0],
  ] as const) {
    it(says, async () => {
      port.give("a");
      const worker = start(() => void (port.clock.lateMs += busyMs));
      await settle();
      expect(port.finishedIds).to.deep.equal(["a"]);
      expect(port.lines).to.have.length(warnings);
      await worker.stop();
    });
  }
});
