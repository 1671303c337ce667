import { expect } from "chai";
import * as fc from "fast-check";

import { LogReader } from "../../lib/history/log-reader.js";
import { BufferBudget } from "../../lib/backpressure/buffer-budget.js";
import { DedicatedTransport, type LeasedConnection } from "../../lib/subscriptions/dedicated-transport.js";
import {
  readInboundEvent,
  readLoggedEvent,
  type LoggedInboundEvent,
} from "../../lib/events/inbound-event.js";
import { IdTokens } from "../../lib/sse/id-token.js";
import type { ResumePolicy } from "../../lib/sessions/resume-policy.js";
import { Slices } from "../../lib/slices.js";
import type { SessionContext } from "../../lib/sessions/session-context.js";
import { PubSubSession } from "../../lib/sessions/session.js";
import type { SlowConsumerPolicy } from "../../lib/backpressure/slow-consumer-policy.js";
import { SubscriptionHub, type HubHandlers } from "../../lib/subscriptions/subscription-hub.js";
import { settle } from "../support/eventually.js";
import { oneStepSlices } from "../support/one-step-slices.js";
import { FakeClock } from "../support/fake-clock.js";
import { FakeSink } from "../support/fake-sink.js";
import { ScriptedLog, type EndingEvent } from "../support/scripted-log.js";
import { ScriptedHubConnection, ScriptedPool, ScriptedRedis } from "../support/scripted-redis.js";
import { StreamOracle } from "../support/stream-oracle.js";
import { sessionContext } from "../support/session-context.js";

/** Set `MODEL_RUNS=20000` for a longer run. */
const RUNS = Number(process.env["MODEL_RUNS"] ?? 300);

/** `f` is finite from its first event on. `p` has no history. An ACL rule denies `denied`. */
const CHANNELS = ["a", "b", "f", "p", "denied"] as const;
const LOGGED: readonly string[] = ["a", "b", "f"];
const MAX_REPLAY = 25;
const MAX_BUFFERED = 5_000;
const MAX_EVENT = 1_000;
const LINGER_MS = 500;

type Wish = "now" | "earliest" | "malformed";

/** The buffer limit of all streams of a process. Small enough to be exceeded, but not below the limit of one stream. */
const MAX_TOTAL_BUFFERED = 7_000;

/** The policies for buffered events. With "key", the keys do not follow the order of the events. */
const POLICIES = {
  disconnect: "disconnect",
  "drop-oldest": "drop-oldest",
  latest: "latest",
  key: { latestBy: ({ data }) => String(Number(data.split("/")[2] ?? 0) ** 2 % 7) },
} as const satisfies Record<string, SlowConsumerPolicy>;

type PolicyName = keyof typeof POLICIES;

/** The possible steps, in any order. Numbers select one of the existing items. */
type Step =
  | {
      readonly do: "open";
      readonly channels: readonly string[];
      readonly wish: Wish;
      readonly on?: number;
      readonly policy?: PolicyName;
    }
  | {
      readonly do: "back";
      readonly session: number;
      readonly lost: number;
      readonly channels: readonly string[];
      readonly on?: number;
    }
  | { readonly do: "publish"; readonly channel: string; readonly count: number }
  | { readonly do: "complete"; readonly channel: string; readonly ending: EndingEvent }
  | { readonly do: "plain" | "forge" | "flush"; readonly channel: string }
  | { readonly do: "trim"; readonly channel: string; readonly count: number }
  | { readonly do: "execute" | "read" | "fail" | "refuse" | "drop"; readonly chance: number }
  | { readonly do: "carry" | "carryAll" | "answer" | "return" | "turn" | "quiet" }
  | { readonly do: "pass"; readonly ms: number }
  | { readonly do: "block" | "drain" | "leave" | "close"; readonly session: number }
  | { readonly do: "add" | "remove"; readonly session: number; readonly channel: string };

const name = fc.oneof(
  { weight: 15, arbitrary: fc.constantFrom(...CHANNELS.slice(0, 4)) },
  { weight: 1, arbitrary: fc.constant("denied") },
);
const logged = fc.constantFrom(...LOGGED);
const names = fc.uniqueArray(name, { minLength: 1, maxLength: 3 });
const session = fc.nat(7);
const chance = fc.nat(3);
const one = fc.nat(1);
const just = <T extends string>(...what: T[]): fc.Arbitrary<T> => fc.constantFrom(...what);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("open"),
      channels: names,
      on: one,
      wish: fc.oneof({ weight: 6, arbitrary: just("now") }, just("earliest", "malformed")),
      policy: fc.oneof(just("disconnect"), {
        weight: 2,
        arbitrary: just("disconnect", "drop-oldest", "latest", "key"),
      }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("back"),
      session,
      on: one,
      lost: fc.oneof(fc.constant(0), fc.nat(6)),
      channels: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, names),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("publish"),
      channel: logged,
      count: fc.oneof(
        { weight: 6, arbitrary: fc.integer({ min: 1, max: 3 }) },
        fc.integer({ min: 4, max: 40 }),
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("complete"),
      channel: fc.oneof({ weight: 3, arbitrary: fc.constant("f") }, logged),
      ending: just("completed", "silent", "broken"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: just("plain"), channel: name }) },
  { weight: 1, arbitrary: fc.record({ do: just("forge", "flush"), channel: logged }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("trim"), channel: logged, count: fc.nat(8) }) },
  { weight: 6, arbitrary: fc.record({ do: just("execute", "read"), chance }) },
  { weight: 1, arbitrary: fc.record({ do: just("fail", "drop"), chance }) },
  { weight: 8, arbitrary: fc.record({ do: just("carry", "carryAll", "answer", "turn", "quiet") }) },
  { weight: 1, arbitrary: fc.record({ do: just("return") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pass"), ms: fc.constantFrom(1, 100, 1_000, 6_000) }) },
  { weight: 3, arbitrary: fc.record({ do: just("block", "drain", "leave", "close"), session }) },
  { weight: 4, arbitrary: fc.record({ do: just("add", "remove"), session, channel: name }) },
);
const rare: fc.Arbitrary<Step> = fc.record({ do: just("refuse"), chance });
const steps = fc.array(fc.oneof({ weight: 60, arbitrary: step }, { weight: 1, arbitrary: rare }), {
  maxLength: 70,
  // By default, fast-check makes at most ten.
  size: "max",
});

interface Stream {
  readonly session: PubSubSession;
  readonly sink: FakeSink;
  readonly oracle: StreamOracle;
  readonly channels: readonly string[];
  readonly policy: PolicyName;
  readonly resume: ResumePolicy;
  /** Events without a position that arrived while the stream was live. */
  readonly plain: { readonly channel: string; readonly serial: number }[];
  wasBlocked: boolean;
  /** Whether the stream asked for the denied channel. */
  wasDenied: boolean;
  /** The length of the text when the stream ended. */
  over: number | null;
}

/** A process of the application. The processes share only Redis. */
interface Process {
  readonly hub: SubscriptionHub;
  readonly reader: LogReader<LoggedInboundEvent>;
  readonly context: SessionContext<PubSubSession>;
  readonly streams: Stream[];
}

/** Messages in transit. The messages of a connection arrive in order, and before later replies. */
class Wire {
  readonly #messages: (() => void)[] = [];

  get empty(): boolean {
    return this.#messages.length === 0;
  }

  put(deliver: () => void): void {
    this.#messages.push(deliver);
  }

  carry(count = Infinity): void {
    for (let carried = 0; carried < count && !this.empty; carried++) this.#messages.shift()!();
  }

  lose(): void {
    this.#messages.length = 0;
  }
}

/** Real sessions, hubs, transports and history readers over a scripted Redis and clock. */
class World {
  readonly redis = new ScriptedRedis();
  readonly pool = new ScriptedPool(this.redis);
  readonly log = new ScriptedLog();
  readonly wire = new Wire();
  readonly clock = new FakeClock();
  readonly processes: readonly Process[];
  readonly streams: Stream[] = [];
  readonly pending: Promise<unknown>[] = [];
  /** Work that continues in later turns, of each process. */
  readonly slices: Slices[] = [];
  /** The number of `onClosed` calls. */
  closed = 0;
  readonly did = new Set<Step["do"]>();
  /** The stream that owns the next dedicated connection: the one whose session is being constructed. */
  #owner: { stream: Stream | null } = { stream: null };
  #serial = 0;

  readonly #createSlices: () => Slices;

  constructor(subscriptions: "shared" | "dedicated", createSlices = () => new Slices(this.clock)) {
    this.#createSlices = createSlices;
    this.redis.denied.add("denied");
    this.processes = [this.#start(subscriptions), this.#start(subscriptions)];
  }

  #start(subscriptions: "shared" | "dedicated"): Process {
    const client = this.log.connect();
    const slices = this.#createSlices();
    this.slices.push(slices);
    const reader = new LogReader<LoggedInboundEvent>({
      commands: () => client,
      keyPrefix: "sse:",
      policy: (channel) => (LOGGED.includes(channel) ? { maxLength: 1_000, maxAgeMs: 60_000 } : null),
      serverRun: () => Promise.resolve({ id: 0, mayHaveLost: false }),
      clock: this.clock,
      slices,
      maxPageBytes: 400,
      maxCachedBytes: 8_000_000,
      toEvent: (channel, position, { event, data, ending }) =>
        readLoggedEvent(
          channel,
          { position, event, data, ...(ending !== undefined && { ending }) },
          MAX_EVENT,
        ),
      sizeOf: ({ data, frame }) => data.length + 2 * frame.length,
    });
    const read = (channel: string, message: string) => readInboundEvent(channel, message, MAX_EVENT);
    const now = (): number => reader.now();
    const streams: Stream[] = [];
    const hub = new SubscriptionHub({
      connect: (handlers) => new ScriptedHubConnection(this.redis, this.#delayed(handlers, streams)),
      read,
      now,
      clock: this.clock,
      slices,
      lingerMs: LINGER_MS,
      closeTimeoutMs: 1_000,
    });
    const context = sessionContext({
      slices,
      settings: {
        maxChannelsPerSession: 4,
        maxEventBytes: MAX_EVENT,
        maxReplayEvents: MAX_REPLAY,
        maxBufferedBytes: MAX_BUFFERED,
      },
      clock: this.clock,
      createTransport: (_, listener) => {
        if (subscriptions === "shared") return hub.transport(listener);
        const owner = this.#owner;
        return new DedicatedTransport({ lease: (signal) => this.#lease(signal, owner), read, now }, listener);
      },
      history: reader,
      // A client with honest ids gets the same events with and without a token.
      idTokens: new IdTokens(["the secret of all processes of the model"]),
      budget: new BufferBudget(MAX_TOTAL_BUFFERED),
      onClosed: () => this.closed++,
    });
    return { reader, hub, context, streams };
  }

  async run(next: Step): Promise<void> {
    this.did.add(next.do);
    await this.#run(next);
    this.look();
  }

  /** Checks what must be true at any moment. */
  look(): void {
    for (const stream of this.streams) {
      const { session: each, sink, oracle } = stream;
      oracle.read(sink.text);
      if (each.state === "created" || each.state === "subscribed") {
        expect(each.statistics.bufferedBytes, "buffered bytes").to.be.at.most(MAX_BUFFERED);
      }
      if (each.state === "closed" || sink.closed) stream.over ??= sink.text.length;
      if (stream.over !== null)
        expect(sink.text.length, "nothing is written after the end").to.equal(stream.over);
    }
  }

  async #run(next: Step): Promise<void> {
    switch (next.do) {
      case "open":
        return this.#open(next.channels, next.wish === "now" ? undefined : next.wish, next.on, next.policy);
      case "back":
        return this.#back(next);
      case "publish":
        for (let count = 0; count < next.count; count++) {
          this.#send(next.channel, this.log.publish(next.channel, { finite: next.channel === "f" }));
        }
        return;
      case "complete":
        return this.#send(next.channel, this.log.publish(next.channel, next));
      case "plain":
        return this.redis.publish(next.channel, `plain ${next.channel} ${this.#serial++}`);
      case "forge":
        return this.redis.publish(next.channel, `\u001esse1\nffffffff 3\n\nforged`);
      case "flush":
        return this.log.flush(next.channel);
      case "trim":
        return this.log.trim(next.channel, next.count);
      case "execute":
        return void this.log.execute(next.chance);
      case "read":
        return void this.log.answer(next.chance);
      case "fail":
        return void this.log.fail(next.chance, new Error("Connection is closed."));
      case "refuse":
        return void this.log.fail(next.chance, Object.assign(new Error("NOPERM no"), { name: "ReplyError" }));
      case "drop":
        this.wire.carry(next.chance);
        this.wire.lose();
        return this.redis.drops();
      case "return":
        return this.redis.returns();
      case "carry":
        return this.wire.carry(1);
      case "carryAll":
        return this.wire.carry();
      case "answer":
        return void this.#answer();
      case "turn":
        return settle(1);
      case "quiet":
        return this.quiet();
      case "pass":
        return this.clock.advance(next.ms);
      case "block":
      case "drain":
      case "leave":
      case "close":
      case "add":
      case "remove":
        return this.#touch(next);
    }
  }

  /** Answers all calls, and the calls that follow from them. */
  async quiet(): Promise<void> {
    for (let still = 0, turns = 0; still < 3; turns++) {
      expect(turns, "turns until nothing happens any more").to.be.lessThan(2_000);
      await settle(2);
      this.wire.carry();
      const answered = [this.#answer(), this.log.answer(turns), ...this.slices.map(({ isBusy }) => isBusy)];
      still = answered.includes(true) ? 0 : still + 1;
    }
  }

  #answer(): boolean {
    if (this.redis.down) return false;
    this.wire.carry();
    return this.redis.answerOne();
  }

  #send(channel: string, message: string | null): void {
    if (message !== null) this.redis.publish(channel, message);
  }

  #open(
    channels: readonly string[],
    lastEventId: string | undefined,
    on = 0,
    policy: PolicyName = "disconnect",
    resume: ResumePolicy = this.streams.length % 2 === 0 ? "all" : "since-admission",
  ): void {
    const { context, streams } = this.processes[on]!;
    const sink = new FakeSink();
    const owner: { stream: Stream | null } = { stream: null };
    this.#owner = owner;
    const from = lastEventId === "earliest" ? lastEventId : "now";
    const request = { lastEventId, from, resume, slowConsumer: POLICIES[policy] } as const;
    const opened = new PubSubSession(context, request, sink, channels);
    const oracle = new StreamOracle({
      log: this.log,
      channels: channels.filter((channel) => LOGGED.includes(channel)),
      lastEventId,
      maxReplayEvents: MAX_REPLAY,
      allHeard: this.wire.empty,
      drops: policy !== "disconnect",
      serial: () => this.#serial,
    });
    const stream: Stream = {
      session: opened,
      sink,
      oracle,
      channels,
      policy,
      resume,
      plain: [],
      wasBlocked: false,
      wasDenied: channels.includes("denied"),
      over: null,
    };
    owner.stream = stream;
    this.streams.push(stream);
    streams.push(stream);
    this.pending.push(
      opened.start().then(
        () => opened.state === "subscribed" && oracle.live(),
        () => {},
      ),
    );
  }

  /** The client of a stream reconnects without the last frames of the old stream. */
  #back({ session: index, lost, channels, on }: Extract<Step, { do: "back" }>): void {
    const stream = this.streams[index % Math.max(1, this.streams.length)];
    if (stream === undefined) return;
    stream.sink.leave();
    stream.oracle.read(stream.sink.text);
    const id = stream.oracle.lastIdAfter(Math.max(0, stream.oracle.frames - lost));
    // Such a client is answered 204, without a session.
    if (id === "completed") return;
    this.#open(channels.length === 0 ? stream.channels : channels, id, on, stream.policy, stream.resume);
  }

  #touch(
    next: Extract<Step, { readonly do: "block" | "drain" | "leave" | "close" | "add" | "remove" }>,
  ): void {
    const stream = this.streams[next.session % Math.max(1, this.streams.length)];
    if (stream === undefined) return;
    const { session: each, sink, oracle } = stream;
    switch (next.do) {
      case "block":
        stream.wasBlocked = true;
        sink.takes = false;
        return;
      case "drain":
        return sink.drain();
      case "leave":
        return sink.leave();
      case "close":
        this.pending.push(each.close("app"));
        expect(each.close("drain"), "the same promise").to.equal(each.close("app"));
        return;
      case "add": {
        const isNew = each.state === "subscribed" && !each.channels.has(next.channel);
        const isLogged = LOGGED.includes(next.channel);
        const adding = each.addChannel(next.channel);
        stream.wasDenied ||= next.channel === "denied";
        if (isNew && isLogged && each.channels.has(next.channel)) oracle.adding(next.channel);
        this.pending.push(
          adding.then(
            () => isNew && isLogged && oracle.added(next.channel),
            () => {},
          ),
        );
        return;
      }
      case "remove": {
        const had = each.state === "subscribed" && each.channels.has(next.channel);
        this.pending.push(each.removeChannel(next.channel).catch(() => {}));
        // Events that arrived before are written first.
        oracle.read(sink.text);
        // Those events may have ended the stream.
        if (had && each.state === "subscribed") oracle.removed(next.channel);
        const kept = stream.plain.filter(({ channel }) => channel !== next.channel);
        if (had) stream.plain.splice(0, Infinity, ...kept);
        return;
      }
    }
  }

  /** The hub's handlers. Their messages are delayed until a `carry` step. */
  #delayed(handlers: HubHandlers, streams: readonly Stream[]): HubHandlers {
    return {
      onReady: () => handlers.onReady(),
      onDown: () => handlers.onDown(),
      onMessage: (channel, message) =>
        this.wire.put(() => {
          for (const stream of streams) this.#expectPlain(stream, channel, message);
          handlers.onMessage(channel, message);
        }),
    };
  }

  async #lease(signal: AbortSignal, owner: { readonly stream: Stream | null }): Promise<LeasedConnection> {
    const lease = await this.pool.lease(signal);
    const client = lease.client as unknown as { emit(event: string, ...values: unknown[]): boolean };
    const emit = client.emit.bind(client);
    client.emit = (event, ...values) => {
      if (event !== "message") return emit(event, ...values);
      this.wire.put(() => {
        this.#expectPlain(owner.stream!, values[0] as string, values[1] as string);
        emit(event, ...values);
      });
      return true;
    };
    return lease;
  }

  /** Notes a plain message that a live stream must send sooner or later. */
  #expectPlain(stream: Stream, channel: string, message: string): void {
    if (!message.startsWith("plain ") || !stream.session.acknowledgedChannels.includes(channel)) return;
    stream.plain.push({ channel, serial: Number(message.split(" ")[2]) });
  }

  /** Brings everything to rest: Redis answers every call, and clients read. */
  async calm(): Promise<void> {
    this.redis.returns();
    for (let round = 0; round < 3; round++) {
      for (const { sink } of this.streams) sink.drain();
      await this.quiet();
      this.look();
      // Failed calls are retried after some time.
      this.clock.advance(1_000);
    }
    await this.quiet();
    this.look();
  }

  /** The number of the next event without a position. */
  get serial(): number {
    return this.#serial;
  }

  get live(): readonly Stream[] {
    return this.streams.filter(({ session: { state } }) => state === "subscribed");
  }
}

const open = (channels: readonly string[], wish: Wish = "now", policy?: PolicyName): Step => ({
  do: "open",
  channels,
  wish,
  ...(policy && { policy }),
});
const back = (session: number, lost: number): Step => ({ do: "back", session, lost, channels: [] });
const publish = (channel: string, count = 1): Step => ({ do: "publish", channel, count });
const complete = (channel: string): Step => ({ do: "complete", channel, ending: "completed" });
const to = (what: "plain" | "forge" | "flush", channel: string): Step => ({ do: what, channel });
const block = (session: number): Step => ({ do: "block", session });
const add = (channel: string, session = 0): Step => ({ do: "add", session, channel });
const remove = (channel: string): Step => ({ do: "remove", session: 0, channel });
const drain: Step = { do: "drain", session: 0 };
const [quiet, turn, answer, carry, carryAll] = (
  ["quiet", "turn", "answer", "carry", "carryAll"] as const
).map((what): Step => ({ do: what })) as [Step, Step, Step, Step, Step];

/** Sequences that failed in earlier runs. */
const FAILED_ONCE: readonly (readonly Step[])[] = [
  // A late stream of a finite channel gets it from the beginning, even if the first read found it empty.
  [open(["f"]), quiet, publish("f"), carry, open(["f", "a"])],
  // A buffered event comes after the initial gap event, also for a client that does not read.
  [
    open(["b"], "malformed"),
    turn,
    answer,
    turn,
    block(0),
    publish("b"),
    carryAll,
    { do: "read", chance: 0 },
    turn,
  ],
  // A client that does not read gets the events of all channels before its stream ends.
  [open(["a", "b"]), quiet, block(0), publish("b"), complete("a"), publish("b", 2), complete("b"), carryAll],
  // A page that was read before the history was lost does not show the current position.
  [
    open(["a"]),
    turn,
    open(["a"]),
    open(["a"]),
    block(0),
    answer,
    publish("a", 4),
    quiet,
    publish("a", 4),
    back(1, 1),
    to("flush", "a"),
    quiet,
  ],
  // A removed channel that is added again sends no old events, and starts only once.
  [open(["b", "a"]), block(0), quiet, publish("b"), carry, remove("b"), add("b")],
  [open(["a"]), quiet, add("b"), remove("b"), add("b"), answer, publish("b")],
  // A stream is not complete because its last channel was removed.
  [open(["p"]), block(0), quiet, remove("p")],
  // Nothing is buffered for a channel that has ended, or by a stream that closes.
  [open(["a", "f"]), complete("f"), quiet, to("forge", "f")],
  [open(["a"]), quiet, back(0, 0), to("plain", "a"), carry, { do: "refuse", chance: 0 }],
  // With keys, a dropped event may be newer than a buffered one.
  [
    open(["a"], "now", "key"),
    quiet,
    block(0),
    publish("a"),
    carryAll,
    turn,
    turn,
    publish("a", 6),
    carryAll,
    turn,
    turn,
    drain,
  ],
  // The last event of a channel is not dropped in favor of events of other channels.
  [
    open(["a", "f"], "now", "drop-oldest"),
    quiet,
    block(0),
    publish("a"),
    carryAll,
    turn,
    turn,
    complete("f"),
    publish("a", 40),
    carryAll,
    turn,
    turn,
    drain,
  ],
  // A channel is added for a client that does not read, and its history starts over before the client reads.
  [open(["a"]), open(["f"]), block(3), quiet, to("forge", "a"), add("a", 3), turn, to("flush", "a")],
  // A channel without a history ends silently, loses this end, and has a new history that ends.
  [open(["f"]), quiet, { do: "complete", channel: "f", ending: "silent" }, to("flush", "f"), complete("f")],
  // A channel that has ended silently is added, and its end arrives before the client gets its place.
  [
    open(["a"]),
    open(["b"]),
    quiet,
    { do: "remove", session: 1, channel: "b" },
    { do: "complete", channel: "a", ending: "silent" },
    { do: "add", session: 1, channel: "a" },
    { do: "carry" },
  ],
];

const VARIANTS = [
  ["shared", "shared", undefined],
  ["dedicated", "dedicated", undefined],
  ["shared, in slices of one step", "shared", oneStepSlices],
] as const;

for (const [variant, subscriptions, createSlices] of VARIANTS) {
  describe(`streams with history under any sequence of steps, ${variant}`, () => {
    it(`send all events once and in order, or a gap event (${RUNS} runs)`, async () => {
      await fc.assert(
        fc.asyncProperty(steps, async (list) => {
          const world = new World(subscriptions, createSlices);
          for (const next of list) await world.run(next);
          await world.calm();
          await Promise.all(world.pending);
          world.look();
          expectReasons(world, subscriptions);
          expectAgreement(world, subscriptions);
          expectAll(world);
          await expectDelivery(world);
          await expectEnd(world);
        }),
        { numRuns: RUNS, examples: FAILED_ONCE.map((list) => [list]), endOnFailure: RUNS > 100_000 },
      );
    }).timeout(30_000 + RUNS * 100);
  });
}

/** Expects that every stream ended for a valid reason. */
function expectReasons({ streams, did, processes }: World, subscriptions: "shared" | "dedicated"): void {
  const hadToGive = processes.some(({ context }) => context.budget.exceeded > 0);
  for (const { session: each, wasBlocked, wasDenied, oracle } of streams) {
    expect(each.state).to.be.oneOf(["subscribed", "closed"]);
    switch (each.closeReason) {
      case "slow-consumer":
        expect(wasBlocked || hadToGive, "a client that was slow").to.equal(true);
        break;
      case "redis-lost":
        expect(did.has("refuse") || (subscriptions === "dedicated" && did.has("drop"))).to.equal(true);
        break;
      case "subscribe-failed":
        if (wasDenied) break;
        expect([...did], "what kept a stream from beginning").to.include.oneOf([
          "fail",
          "refuse",
          "drop",
          "pass",
        ]);
        break;
      case "limit":
        // Too many events arrived in one event-loop turn, after its position was known and before it was live.
        expect([...did]).to.include("publish");
        break;
      case "completed":
      case "broken":
        // A stream that ended while a channel was added has no channels left.
        expect(each.channels.size > 0 || did.has("add"), "a stream of channels").to.equal(true);
        oracle.expectComplete(each.channels);
        break;
      case "revoked":
        expect(wasDenied, "a channel that is denied").to.equal(true);
        break;
      case null:
      case "client-gone":
      case "app":
        break;
      case "authorization-expired":
      case "drain":
      case "max-lifetime":
      case "peer-lost":
      case "shutdown":
      case "write-error":
        expect.fail(`ended as ${each.closeReason}`);
    }
  }
}

/** Expects that the subscriptions and leases are exactly the ones of live sessions. */
function expectAgreement(
  { live, redis, pool, processes }: World,
  subscriptions: "shared" | "dedicated",
): void {
  expect(pool.inUse, "leases").to.equal(subscriptions === "shared" ? 0 : live.length);
  for (const name of CHANNELS) {
    const hears = ({ session: each }: Stream): boolean =>
      each.state === "subscribed" && each.channels.has(name);
    const counts = processes.map(({ streams }) => streams.filter(hears).length);
    if (subscriptions === "shared") {
      processes.forEach(({ hub }, index) => expect(hub.channels.includes(name)).to.equal(counts[index]! > 0));
    }
    const wanted = counts.reduce(
      (sum, count) => sum + (subscriptions === "shared" ? Math.min(1, count) : count),
      0,
    );
    expect(redis.receiversOf(name), `subscriptions of ${name}`).to.equal(wanted);
  }
}

/** At rest, every live stream has all events, and nothing is buffered. */
function expectAll({ live, did, processes }: World): void {
  for (const { context, streams } of processes) {
    if (streams.every(({ session: { state } }) => state !== "closing"))
      expect(context.budget.bytes, "buffered for all streams at rest").to.equal(0);
  }
  for (const { session: each, oracle, plain, policy } of live) {
    oracle.expectAll([...each.channels].filter((channel) => LOGGED.includes(channel)));
    for (const { channel, serial } of plain) {
      expect(oracle.sawPlain(serial) || oracle.lostPlain(channel, serial), `plain ${serial}`).to.equal(true);
    }
    expect(each.statistics.bufferedBytes, "buffered at rest").to.equal(0);
    expect(each.statistics.messagesDropped, "dropped events, with a gap event").to.satisfy(
      (dropped: number) => dropped === 0 || policy !== "disconnect" || did.has("remove"),
    );
  }
}

/** Expects that new events arrive live, without a read of a history. */
async function expectDelivery(world: World): Promise<void> {
  const reads = world.log.reads;
  for (const channel of LOGGED) {
    if (world.log.current(channel) === null) continue;
    await world.run({ do: "publish", channel, count: 1 });
  }
  const said: [string, number][] = [];
  for (const channel of CHANNELS) {
    said.push([channel, world.serial]);
    await world.run({ do: "plain", channel });
  }
  await world.quiet();
  world.look();
  expectAll(world);
  for (const { session: each, oracle } of world.live) {
    const heard = said.filter(([, serial]) => oracle.sawPlain(serial)).map(([channel]) => channel);
    expect([...each.channels], "what it hears").to.include.members(heard);
  }
  if (!world.did.has("forge") && !world.did.has("flush"))
    expect(world.log.reads, "reads of a log").to.equal(reads);
}

/** After all sessions have closed, no subscription, timer, listener or page is left. */
async function expectEnd(world: World): Promise<void> {
  const reasons = world.streams.map(({ session: each }) => each.closeReason);
  const closing = world.streams.map(({ session: each }) => each.close("shutdown"));
  const hubs = world.processes.map(({ hub }) => hub.close());
  await world.calm();
  for (const { reader, context } of world.processes) {
    reader.close();
    expect(context.budget.bytes, "buffered for all streams at the end").to.equal(0);
  }
  world.clock.advance(10_000);
  await settle();
  await Promise.all([...closing, ...hubs]);
  world.look();
  for (const [index, { session: each, sink }] of world.streams.entries()) {
    expect(each.state).to.equal("closed");
    expect(each.closeReason, "the first reason stays").to.equal(reasons[index] ?? "shutdown");
    expect(each.statistics.bufferedBytes, "buffered at the end").to.equal(0);
    expect(sink.listeners).to.equal(0);
  }
  expect(world.closed, "told closed once each").to.equal(world.streams.length);
  expect(world.pool.inUse).to.equal(0);
  expect(world.redis.connections.size).to.equal(0);
  expect(world.log.asked, "reads that nobody answered").to.equal(0);
  expect(world.clock.pending, "timers").to.equal(0);
}
