import { expect } from "chai";
import * as fc from "fast-check";

import { Worker } from "../../../../lib/queue/worker/worker.js";
import type { ClaimReply } from "../../../../lib/queue/scripts/claim.js";
import { deferred, settle } from "../../../support/eventually.js";
import { claimOf, NOTHING, ScriptedPort } from "../../../support/scripted-port.js";

/** A queue that answers all pending claims in one round, like a server with some latency. */
class RemotePort extends ScriptedPort {
  readonly ready: string[] = [];
  #asked: (() => void)[] = [];

  override async claim(want: number): Promise<ClaimReply> {
    this.wanted.push(want);
    await new Promise<void>((resolve) => this.#asked.push(resolve));
    const ids = this.ready.splice(0, want);
    return ids.length === 0 ? NOTHING : claimOf(...ids);
  }

  get isAsked(): boolean {
    return this.#asked.length > 0;
  }

  async round(): Promise<void> {
    for (const answer of this.#asked.splice(0)) answer();
    await settle();
  }
}

describe("WorkerGroup", () => {
  let port: RemotePort;
  let workers: Worker[];
  let over: ReturnType<typeof deferred<void>>;
  let begun: string[];

  beforeEach(() => {
    port = new RemotePort();
    workers = [];
    over = deferred();
    begun = [];
  });

  async function start(count: number, pollMs = 5_000): Promise<void> {
    for (let index = 0; index < count; index++) {
      const handler = ({ task }: { task: { id: string } }): Promise<void> => {
        begun.push(task.id);
        return over.promise;
      };
      workers.push(new Worker(port, handler, { pollMs }, () => {}));
    }
    await settle();
    await port.round();
    port.wanted.length = 0;
  }

  async function stop(): Promise<void> {
    over.resolve();
    const stopped = Promise.all(workers.map((worker) => worker.stop()));
    for (let round = 0; round < 5; round++) {
      await settle();
      await port.round();
    }
    await stopped;
    expect(port.clock.pending, "timers").to.equal(0);
    expect(port.listeners.size, "listeners").to.equal(0);
  }

  it("keeps one listener as long as it has a member", async () => {
    await start(3);
    expect(port.listeners.size).to.equal(1);
    const [first, second] = workers;
    for (const worker of [first!, second!]) {
      const stopped = worker.stop();
      await settle();
      await port.round();
      await stopped;
    }
    expect(port.listeners.size).to.equal(1);
    await stop();
  });

  it("fills all workers within a few claims if many tasks wait", async () => {
    await start(200);
    port.ready.push(...Array.from({ length: 500 }, (_, index) => `t-${index}`));
    port.wake();
    await settle();
    let rounds = 0;
    for (; begun.length < 200; rounds++) await port.round();
    expect(rounds).to.be.at.most(6);
    expect(port.claimed).to.equal(200);
    await stop();
  });

  it("wakes one worker for a burst of messages, and another one for a message during the claim", async () => {
    await start(10);
    port.wake();
    port.wake();
    port.wake();
    await settle();
    expect(port.claimed).to.equal(1);
    port.ready.push("a");
    port.wake();
    await settle();
    expect(port.claimed).to.equal(2);
    await port.round();
    await port.round();
    expect(begun).to.deep.equal(["a"]);
    await stop();
  });

  it("polls once per pollMs for all workers without claiming tasks while all of them are busy", async () => {
    await start(10, 1_000);
    port.ready.push(...Array.from({ length: 10 }, (_, index) => `t-${index}`));
    port.wake();
    await settle();
    while (begun.length < 10) await port.round();
    port.ready.push("waiting");
    port.wake();
    port.wanted.length = 0;
    for (let round = 1; round <= 5; round++) {
      port.clock.advance(1_000);
      await settle();
      expect(port.wanted, `after ${round} s`).to.have.length.within(round - 1, round + 1);
      await port.round();
    }
    expect(new Set(port.wanted)).to.deep.equal(new Set([0]));
    await stop();
  });

  it("claims tasks while a busy worker polls for due schedules", async () => {
    await start(2, 1_000);
    port.ready.push("long");
    port.wake();
    await settle();
    await port.round();
    await port.round();
    expect(begun).to.deep.equal(["long"]);
    // The message for this task was lost. The pending polls stay unanswered until the next one starts.
    port.ready.push("unheard");
    port.wanted.length = 0;
    for (let step = 0; step < 25; step++) {
      port.clock.advance(100);
      await settle();
    }
    expect(port.wanted).to.include(0);
    expect(port.wanted.some((want) => want > 0)).to.equal(true);
    await port.round();
    expect(begun).to.deep.equal(["long", "unheard"]);
    await stop();
  });

  it("runs every task in any order of enqueue, claim, stop and added workers", async () => {
    const step = fc.constantFrom("enqueue", "enqueue unheard", "round", "stop", "add", "pause");
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        port = new RemotePort();
        workers = [];
        over = deferred();
        begun = [];
        over.resolve();
        await start(4, 1_000);
        let tasks = 0;
        for (const each of steps) {
          if (each.startsWith("enqueue")) port.ready.push(`t-${tasks++}`);
          if (each === "enqueue") port.wake();
          if (each === "round") await port.round();
          if (each === "stop" && workers.length > 1) void workers.shift()!.stop();
          if (each === "add") await start(1, 1_000);
          if (each === "pause") port.clock.advance(300);
        }
        for (let round = 0; round < 100 && port.isAsked; round++) await port.round();
        // The workers find tasks without a message when they poll.
        for (let pause = 0; pause < 3; pause++) {
          port.clock.advance(1_000);
          await settle();
          for (let round = 0; round < 100 && port.isAsked; round++) await port.round();
        }
        expect(port.ready).to.deep.equal([]);
        await stop();
      }),
      { numRuns: 100 },
    );
  });
});
