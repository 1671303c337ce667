import { expect } from "chai";
import * as fc from "fast-check";

import { BufferBudget } from "../../lib/backpressure/buffer-budget.js";
import { assertChannel } from "../../lib/events/channel-name.js";
import { DedicatedTransport } from "../../lib/subscriptions/dedicated-transport.js";
import { readInboundEvent } from "../../lib/events/inbound-event.js";
import type { SessionContext } from "../../lib/sessions/session-context.js";
import { PubSubSession } from "../../lib/sessions/session.js";
import { SubscriptionHub } from "../../lib/subscriptions/subscription-hub.js";
import { Ticker } from "../../lib/sessions/ticker.js";
import { settle } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import { FakeSink } from "../support/fake-sink.js";
import { noHistory } from "../support/no-history.js";
import { ScriptedHubConnection, ScriptedPool, ScriptedRedis } from "../support/scripted-redis.js";

/** `MODEL_RUNS=100000 npm test` for a long look. */
const RUNS = Number(process.env["MODEL_RUNS"] ?? 300);

const CHANNELS = ["a", "b", "c", "denied"] as const;
const LINGER_MS = 500;

/** What can happen, in any order. Numbers choose among the sessions that there are. */
type Step =
  | { readonly do: "open"; readonly channels: readonly string[] }
  | { readonly do: "answer" | "drop" | "return" | "turn" | "quiet" }
  | { readonly do: "publish"; readonly channel: string }
  | { readonly do: "pass"; readonly ms: number }
  | { readonly do: "block" | "drain" | "leave" | "close" | "closeTwice"; readonly session: number }
  | { readonly do: "add" | "remove"; readonly session: number; readonly channel: string };

const channel = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...CHANNELS.slice(0, 3)) },
  { weight: 1, arbitrary: fc.constant("denied") },
);
const session = fc.nat(7);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("open"), channels: fc.uniqueArray(channel, { minLength: 1 }) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom("answer", "turn", "quiet") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("drop", "return") }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("publish"), channel }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pass"), ms: fc.constantFrom(1, 100, 600, 6_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom("block", "drain", "leave", "close", "closeTwice"), session }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("add", "remove"), session, channel }) },
);

interface Stream {
  readonly session: PubSubSession;
  readonly sink: FakeSink;
}

/** Sessions, hub and transports as they are, over a Redis and a clock that only the steps move. */
class World {
  readonly redis = new ScriptedRedis();
  readonly pool = new ScriptedPool(this.redis);
  readonly clock = new FakeClock();
  readonly hub: SubscriptionHub;
  readonly streams: Stream[] = [];
  readonly pending: Promise<unknown>[] = [];
  readonly #context: SessionContext<PubSubSession>;
  #closedCount = 0;
  #published = 0;

  constructor(subscriptions: "shared" | "dedicated") {
    this.redis.denied.add("denied");
    const read = (name: string, message: string) => readInboundEvent(name, message, 10_000);
    this.hub = new SubscriptionHub({
      connect: (handlers) => new ScriptedHubConnection(this.redis, handlers),
      read,
      now: () => 0,
      clock: this.clock,
      lingerMs: LINGER_MS,
      closeTimeoutMs: 1_000,
    });
    const ticker = new Ticker(this.clock, 1_000);
    this.#context = {
      settings: {
        heartbeatMs: 15_000,
        retryMs: 2_000,
        slowConsumer: "disconnect",
        maxChannelsPerSession: 3,
        maxEventBytes: 10_000,
        maxReplayEvents: 100,
        maxBufferedBytes: 5_000,
        maxStallMs: 30_000,
        maxLifetimeMs: Infinity,
        subscribeTimeoutMs: 5_000,
        closeTimeoutMs: 2_000,
      },
      clock: this.clock,
      createTransport: (_, listener) =>
        subscriptions === "shared"
          ? this.hub.transport(listener)
          : new DedicatedTransport(
              { lease: (signal) => this.pool.lease(signal), read, now: () => 0 },
              listener,
            ),
      history: noHistory,
      onGap: () => {},
      onRuleFailure: () => {},
      budget: new BufferBudget(Infinity),
      assertChannel: (name) => assertChannel(name, "sse:"),
      startTicking: (each) => ticker.add(each),
      explain: (fault) => fault,
      onClosing: () => {},
      onClosed: () => this.#closedCount++,
    };
  }

  async run(next: Step): Promise<void> {
    if ("session" in next) return this.#touch(next);
    switch (next.do) {
      case "open":
        return this.#open(next.channels.slice(0, 3));
      case "answer":
        return void this.redis.answerOne();
      case "quiet":
        return this.#quiet();
      case "drop":
        return this.redis.drops();
      case "return":
        return this.redis.returns();
      case "turn":
        return settle(1);
      case "publish":
        return this.redis.publish(next.channel, `event ${this.#published++} ${"x".repeat(300)}`);
      case "pass":
        return this.clock.advance(next.ms);
    }
  }

  /** Everything that was asked has its answer, and what follows from that as well. */
  async #quiet(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await settle(2);
      quiet = this.redis.answerOne() ? 0 : quiet + 1;
    }
  }

  #open(channels: readonly string[]): void {
    const sink = new FakeSink();
    const opened = new PubSubSession(this.#context, {}, sink, channels);
    this.streams.push({ session: opened, sink });
    this.pending.push(opened.start().catch(() => {}));
  }

  #touch(next: Extract<Step, { readonly session: number }>): void {
    const stream = this.streams[next.session % Math.max(1, this.streams.length)];
    if (stream === undefined) return;
    switch (next.do) {
      case "block":
        stream.sink.takes = false;
        return;
      case "drain":
        return stream.sink.drain();
      case "leave":
        return stream.sink.leave();
      case "close":
        this.pending.push(stream.session.close("app"));
        return;
      case "closeTwice":
        expect(stream.session.close("drain"), "the same promise").to.equal(stream.session.close("app"));
        return;
      case "add":
        this.pending.push(stream.session.addChannel(next.channel).catch(() => {}));
        return;
      case "remove":
        this.pending.push(stream.session.removeChannel(next.channel).catch(() => {}));
        return;
    }
  }

  /** Redis is there and answers everything, clients read, and nothing else happens any more. */
  async calm(): Promise<void> {
    this.redis.returns();
    for (const { sink } of this.streams) sink.drain();
    await this.#quiet();
    this.clock.advance(LINGER_MS);
    await this.#quiet();
  }

  get live(): readonly Stream[] {
    return this.streams.filter(({ session: { state } }) => state === "subscribed");
  }

  get closedCount(): number {
    return this.#closedCount;
  }
}

for (const subscriptions of ["shared", "dedicated"] as const) {
  describe(`any sequence of events, ${subscriptions}`, () => {
    it(`leaves what is wanted and nothing else (${RUNS} runs)`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
          const world = new World(subscriptions);
          for (const next of steps) {
            await world.run(next);
            expect(world.pool.inUse, "leases").to.be.at.most(world.streams.length);
          }
          await world.calm();
          await Promise.all(world.pending);
          expectAgreement(world, subscriptions);
          await expectDelivery(world);
          await expectEnd(world);
        }),
        { numRuns: RUNS, endOnFailure: RUNS > 1_000 },
      );
    }).timeout(20_000 + RUNS * 60);
  });
}

/** The server's subscriptions are those of the live sessions; every other session is closed. */
function expectAgreement(world: World, subscriptions: "shared" | "dedicated"): void {
  const { live, redis, pool, streams } = world;
  for (const { session: each } of streams) expect(each.state).to.be.oneOf(["subscribed", "closed"]);
  for (const name of CHANNELS) {
    const listeners = live.filter(({ session: each }) => each.channels.has(name)).length;
    const wanted = subscriptions === "shared" ? Math.min(1, listeners) : listeners;
    expect(redis.receiversOf(name), `subscriptions of ${name}`).to.equal(wanted);
  }
  expect(pool.inUse, "leases").to.equal(subscriptions === "shared" ? 0 : live.length);
  expect(pool.leased, "leases ever").to.be.at.most(streams.length);
  if (subscriptions === "shared") {
    const wanted = new Set(live.flatMap(({ session: each }) => [...each.channels]));
    expect(new Set(world.hub.channels)).to.deep.equal(wanted);
  }
}

/** Every live session hears each of its channels, once, and no other. */
async function expectDelivery({ live, redis }: World): Promise<void> {
  for (const name of CHANNELS) redis.publish(name, `last of ${name}`);
  await settle();
  for (const { session: each, sink } of live) {
    for (const name of CHANNELS) {
      const heard = sink.events.filter(({ data }) => data === `last of ${name}`).length;
      expect(heard, `${name} in a session of ${[...each.channels].join()}`).to.equal(
        each.channels.has(name) ? 1 : 0,
      );
    }
  }
}

/** After all have closed nothing is left: no subscription, lease, timer or listener. */
async function expectEnd(world: World): Promise<void> {
  const reasons = world.streams.map(({ session: each }) => each.closeReason);
  const closing = world.streams.map(({ session: each }) => each.close("shutdown"));
  const hub = world.hub.close();
  await world.calm();
  world.clock.advance(10_000);
  await settle();
  await Promise.all([...closing, hub]);
  world.streams.forEach(({ session: each, sink }, index) => {
    expect(each.state).to.equal("closed");
    expect(each.closeReason, "the first reason stays").to.equal(reasons[index] ?? "shutdown");
    expect(sink.listeners).to.equal(0);
  });
  expect(world.closedCount, "told closed once each").to.equal(world.streams.length);
  expect(world.pool.inUse).to.equal(0);
  expect(world.redis.connections.size).to.equal(0);
  expect(world.clock.pending, "timers").to.equal(0);
}
