import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import {
  SubscriptionReconciler,
  type ReconcilerHandlers,
  type SubscriptionPort,
} from "../../../lib/subscriptions/subscription-reconciler.js";
import { FakeClock } from "../../support/fake-clock.js";
import { settle } from "../../support/eventually.js";
import { createRandom } from "../../support/random.js";

describe("SubscriptionReconciler", () => {
  let clock: FakeClock;
  let port: ScriptedPort;
  let resubscribed: (readonly string[])[];
  let refused: [channel: string, code: string][];
  let reconciler: SubscriptionReconciler;

  beforeEach(() => {
    clock = new FakeClock();
    port = new ScriptedPort();
    resubscribed = [];
    refused = [];
    const handlers: ReconcilerHandlers = {
      onResubscribed: (channels) => resubscribed.push(channels),
      onRefused: (channel, fault) => refused.push([channel, fault.code]),
    };
    reconciler = new SubscriptionReconciler(port, handlers, clock);
  });

  afterEach(() => {
    expect(port.violations).to.deep.equal([]);
  });

  describe("heard()", () => {
    it("reports the gap once, before the first message after the acknowledgement", async () => {
      void Promise.resolve(reconciler.want("a")).catch(() => {});
      void Promise.resolve(reconciler.want("b")).catch(() => {});
      await settle();
      await port.acknowledge();
      reconciler.heard("a");
      expect(resubscribed, "nothing was lost").to.deep.equal([]);
      reconciler.connectionLost();
      reconciler.connectionReady();
      await settle();
      reconciler.heard("a");
      reconciler.heard("a");
      expect(resubscribed).to.deep.equal([["a"]]);
      await port.acknowledge();
      expect(resubscribed).to.deep.equal([["a"], ["b"]]);
    });

    it("reports another gap if the connection is lost before the promise of the acknowledgement continues", async () => {
      void Promise.resolve(reconciler.want("a")).catch(() => {});
      await settle();
      await port.acknowledge();
      for (let loss = 0; loss < 2; loss++) {
        reconciler.connectionLost();
        reconciler.connectionReady();
        await settle();
        reconciler.heard("a");
      }
      expect(resubscribed).to.deep.equal([["a"], ["a"]]);
    });
  });

  it("sends one command for all channels of a tick, with at most 512 channels each", async () => {
    const names = Array.from({ length: 1_300 }, (_, index) => `c${index}`);
    const wanted = names.map((name) => outcomeOf(Promise.resolve(reconciler.want(name))));
    await settle();
    expect(port.commands.map(({ channels }) => channels.length)).to.deep.equal([512, 512, 276]);
    expect(port.commands.flatMap(({ channels }) => channels)).to.deep.equal(names);
    await port.acknowledgeAll();
    expect(wanted.every(({ now }) => now === "resolved")).to.equal(true);
    expect(reconciler.subscribedCount).to.equal(1_300);
  });

  it("rejects only the denied channel of a batch and subscribes the others one by one", async () => {
    port.denied.add("b");
    const wanted = ["a", "b", "c"].map((name) => outcomeOf(Promise.resolve(reconciler.want(name))));
    await port.acknowledgeAll();
    expect(wanted.map(({ now }) => now)).to.deep.equal(["resolved", "SUBSCRIBE_REFUSED", "resolved"]);
    expect([...port.server]).to.have.members(["a", "c"]);
    expect(refused).to.deep.equal([["b", "SUBSCRIBE_REFUSED"]]);
    expect(port.log).to.deep.equal(["subscribe a b c", "subscribe a", "subscribe b", "subscribe c"]);
  });

  describe("error on a ready connection", () => {
    for (const error of [
      new Error("Command timed out"),
      Object.assign(new Error("LOADING Redis is loading the dataset"), { name: "ReplyError" }),
      Object.assign(new Error("NOAUTH Authentication required."), { name: "ReplyError" }),
      new Error("something odd"),
    ]) {
      it(`retries after a pause and rejects no caller (${error.message})`, async () => {
        const wanted = ["a", "b"].map((name) => outcomeOf(Promise.resolve(reconciler.want(name))));
        await settle();
        await port.fail(error);
        await settle(50);
        expect(port.log, "no retry before the pause").to.deep.equal(["subscribe a b"]);
        expect(wanted.map(({ now }) => now)).to.deep.equal(["pending", "pending"]);
        clock.advance(1_000);
        await port.acknowledgeAll();
        expect(wanted.map(({ now }) => now)).to.deep.equal(["resolved", "resolved"]);
        expect(port.log).to.deep.equal(["subscribe a b", "subscribe a b"]);
        expect(clock.pending).to.equal(0);
      });
    }

    it("does not delay other channels", async () => {
      Promise.resolve(reconciler.want("a")).catch(() => {});
      await settle();
      await port.fail(new Error("Command timed out"));
      const other = outcomeOf(Promise.resolve(reconciler.want("b")));
      await port.acknowledge();
      expect(other.now).to.equal("resolved");
      expect(port.log).to.deep.equal(["subscribe a", "subscribe b"]);
    });

    it("leaves no timer after close()", async () => {
      Promise.resolve(reconciler.want("a")).catch(() => {});
      await settle();
      await port.fail(new Error("Command timed out"));
      reconciler.close();
      expect(clock.pending).to.equal(0);
    });
  });

  describe("close()", () => {
    it("rejects waiting callers and returns the channels that may still be subscribed", async () => {
      Promise.resolve(reconciler.want("a")).catch(() => {});
      await port.acknowledge();
      const waiting = outcomeOf(Promise.resolve(reconciler.want("b")));
      await settle();
      const late = outcomeOf(Promise.resolve(reconciler.want("c")));
      expect(reconciler.close()).to.have.members(["a", "b"]);
      await settle();
      expect([waiting.now, late.now]).to.deep.equal(["CLOSED", "CLOSED"]);
      expect(reconciler.subscribedCount).to.equal(0);
    });

    it("sends no more commands, also after a late acknowledgement", async () => {
      Promise.resolve(reconciler.want("a")).catch(() => {});
      await settle();
      Promise.resolve(reconciler.want("b")).catch(() => {});
      reconciler.close();
      await port.acknowledgeAll();
      reconciler.connectionReady();
      await settle();
      expect(port.log).to.deep.equal(["subscribe a"]);
    });

    it("does not split a batch that is denied after close()", async () => {
      for (const name of ["a", "b"]) Promise.resolve(reconciler.want(name)).catch(() => {});
      await settle();
      reconciler.close();
      await port.fail(noperm());
      expect(port.log).to.deep.equal(["subscribe a b"]);
    });
  });

  for (const seed of [1, 2, 3, 4, 5]) {
    it(`converges after 3,000 random steps (seed ${seed})`, async () => {
      await runSchedule(seed, 3_000);
    }).timeout(30_000);
  }

  async function runSchedule(seed: number, steps: number): Promise<void> {
    const random = createRandom(seed);
    const pick = (): string => `c${Math.floor(random() * 8)}`;
    const wanted = new Set<string>();
    const interrupted = new Set<string>();
    const outcomes: Outcome[] = [];
    const drop = (name: string): void => {
      wanted.delete(name);
      interrupted.delete(name);
    };
    const handlers: ReconcilerHandlers = {
      onResubscribed: (names) => {
        for (const name of names) {
          if (!interrupted.delete(name)) port.violations.push(`a gap of ${name} is reported without a loss`);
        }
      },
      onRefused: drop,
    };
    const checked = new SubscriptionReconciler(port, handlers, clock);
    const want = (name: string): void => {
      wanted.add(name);
      const promise = Promise.resolve(checked.want(name));
      promise.then(
        () => port.server.has(name) || port.violations.push(`${name} is reported as subscribed but is not`),
        (fault: RedisSseError) => fault.code === "SUBSCRIBE_REFUSED" && drop(name),
      );
      outcomes.push(outcomeOf(promise));
    };

    for (let step = 0; step < steps; step++) {
      const choice = random();
      if (choice < 0.3) {
        want(pick());
      } else if (choice < 0.55) {
        const name = pick();
        drop(name);
        checked.unwant(name);
      } else if (choice < 0.87) {
        if (port.ready) await port.acknowledge();
      } else if (choice < 0.9) {
        const name = pick();
        if (!port.denied.delete(name)) port.denied.add(name);
      } else if (choice < 0.94) {
        if (port.commands[0]?.operation === "subscribe") await port.fail(new Error("Command timed out"));
        if (random() < 0.5) clock.advance(1_000);
      } else if (choice < 0.97 && port.ready) {
        for (const name of port.server) if (wanted.has(name)) interrupted.add(name);
        port.ready = false;
        port.server.clear();
        const failed = random() < 0.5 ? port.commands.splice(0) : [];
        for (const command of failed) command.reject(new Error("Connection is closed."));
        checked.connectionLost();
      } else if (!port.ready) {
        port.ready = true;
        checked.connectionReady();
      }
      // Promises always continue between two steps, but the tick does not always end.
      await (random() < 0.5 ? settle(1) : Promise.resolve());
    }

    port.ready = true;
    checked.connectionReady();
    await port.acknowledgeAll();
    expect(port.violations).to.deep.equal([]);
    expect([...port.server].toSorted()).to.deep.equal([...wanted].toSorted());
    expect(checked.subscribedCount).to.equal(wanted.size);
    expect([...interrupted], "channels whose gap was not reported").to.deep.equal([]);
    expect(outcomes.filter(({ now }) => now === "pending")).to.have.length(0);
    expect(outcomes.length).to.be.greaterThan(steps / 5);
  }
});

interface Command {
  readonly operation: "subscribe" | "unsubscribe";
  readonly channels: readonly string[];
  resolve(): void;
  reject(error: Error): void;
}

/** A connection and its server. Commands wait until the test answers them in order. */
class ScriptedPort implements SubscriptionPort {
  ready = true;
  readonly log: string[] = [];
  readonly commands: Command[] = [];
  readonly server = new Set<string>();
  readonly denied = new Set<string>();
  /** Records broken invariants. It must stay empty in every test. */
  readonly violations: string[] = [];

  isReady(): boolean {
    return this.ready;
  }

  subscribe(channels: readonly string[]): Promise<void> {
    return this.#send("subscribe", channels);
  }

  unsubscribe(channels: readonly string[]): Promise<void> {
    return this.#send("unsubscribe", channels);
  }

  /** Runs the oldest command, or rejects it if it contains a denied channel. */
  async acknowledge(): Promise<void> {
    await settle();
    const command = this.commands.shift();
    if (command === undefined) return;
    const { operation, channels } = command;
    if (operation === "subscribe" && channels.some((name) => this.denied.has(name))) {
      command.reject(noperm());
    } else {
      for (const name of channels) {
        if (operation === "subscribe") this.server.add(name);
        else this.server.delete(name);
      }
      command.resolve();
    }
    await settle();
  }

  /** Acknowledges commands until none is left. */
  async acknowledgeAll(): Promise<void> {
    do await this.acknowledge();
    while (this.commands.length > 0);
  }

  async fail(error: Error): Promise<void> {
    this.commands.shift()?.reject(error);
    await settle();
  }

  #send(operation: Command["operation"], channels: readonly string[]): Promise<void> {
    // Record violations instead of throwing: the reconciler would treat an error as a connection error.
    if (!this.ready) this.violations.push(`${operation} is sent to a connection that is not ready`);
    if (channels.length < 1 || channels.length > 512) this.violations.push(`a batch of ${channels.length}`);
    for (const { channels: inFlight } of this.commands) {
      const twice = channels.filter((name) => inFlight.includes(name));
      if (twice.length > 0) this.violations.push(`two operations in flight for ${twice.join(" ")}`);
    }
    this.log.push(`${operation} ${channels.join(" ")}`);
    return new Promise((resolve, reject) => this.commands.push({ operation, channels, resolve, reject }));
  }
}

/** Returns an error like ioredis does. */
function noperm(): Error {
  const message = "NOPERM No permissions to access a channel";
  return Object.assign(new Error(message), { name: "ReplyError" });
}

interface Outcome {
  /** "pending", "resolved", or the error code. */
  now: string;
}

function outcomeOf(promise: Promise<void>): Outcome {
  const outcome: Outcome = { now: "pending" };
  promise.then(
    () => (outcome.now = "resolved"),
    (error: unknown) => (outcome.now = error instanceof RedisSseError ? error.code : String(error)),
  );
  return outcome;
}
