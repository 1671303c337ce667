import { expect } from "chai";
import * as fc from "fast-check";

import type { PubSubSession } from "../../lib/sessions/session.js";
import { settle } from "../support/eventually.js";
import { dataOf, TurnRig, type TurnStream } from "../support/turn-rig.js";

/** Set `MODEL_RUNS=100000` for a longer run. */
const RUNS = Number(process.env["MODEL_RUNS"] ?? 300);

const CHANNELS = ["a", "b", "c", "log:x", "log:y", "denied"] as const;

/** What a stream's rules can do on an event. */
const DEEDS = ["remove", "send", "close", "last", "throw", "leave out"] as const;
type Deed = (typeof DEEDS)[number];

/** The possible steps, in any order. Numbers select one of the existing streams. */
type Step =
  | { readonly do: "open"; readonly channels: readonly string[]; readonly hasRules: boolean }
  | { readonly do: "answer" | "quiet" | "turn" | "lose" }
  | { readonly do: "say"; readonly channel: string; readonly count: number }
  | { readonly do: "tell"; readonly channel: string; readonly deed: Deed; readonly other: string }
  | { readonly do: "block" | "drain" | "close" | "send"; readonly stream: number }
  | { readonly do: "add" | "remove"; readonly stream: number; readonly channel: string };

const channel = fc.oneof(
  { weight: 15, arbitrary: fc.constantFrom(...CHANNELS.slice(0, 5)) },
  { weight: 1, arbitrary: fc.constant("denied") },
);
const stream = fc.nat(5);
const say: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("say"),
  channel,
  count: fc.integer({ min: 1, max: 3 }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("open"),
      channels: fc.uniqueArray(channel, { minLength: 1, maxLength: 3 }),
      hasRules: fc.boolean(),
    }),
  },
  { weight: 10, arbitrary: say },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("tell"),
      channel,
      deed: fc.constantFrom(...DEEDS),
      other: channel,
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("turn", "quiet", "quiet", "answer") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose") }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom("block", "drain", "drain", "close", "send"), stream }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("add", "remove"), stream, channel }) },
);

/** Runs the steps, with the messages of an event-loop turn in one batch or each alone. */
class World {
  readonly rig: TurnRig;
  readonly #gathers: boolean;
  readonly #pending: Promise<unknown>[] = [];
  readonly #hasRules = new Set<TurnStream>();
  /** The number of channels that are being added to each stream. */
  readonly #adding = new Map<TurnStream, number>();
  #said = 0;
  /** Whether a message was sent on which a rule may act and call Redis. */
  #isTold = false;

  constructor(subscriptions: "shared" | "dedicated", gathers: boolean) {
    this.rig = new TurnRig(subscriptions);
    this.rig.redis.denied.add("denied");
    this.#gathers = gathers;
  }

  /** Runs the steps until everything is at rest. Returns what each stream has received. */
  async runAll(steps: readonly Step[]): Promise<readonly unknown[]> {
    for (const next of steps) {
      const done = this.#run(next);
      if (done !== undefined) await done;
    }
    return this.#outcome();
  }

  /** A step without a promise shares its event-loop turn with the next step. */
  #run(next: Step): Promise<void> | void {
    const { rig } = this;
    if ("stream" in next) return this.#touch(next);
    switch (next.do) {
      case "open":
        return this.#open(next.channels, next.hasRules);
      case "answer":
        return this.#answer();
      case "quiet":
        return this.#quiet();
      case "turn":
        return settle(1);
      case "lose":
        for (const { sink } of rig.streams) sink.drain();
        rig.redis.drops();
        rig.redis.returns();
        return this.#quiet();
      case "say":
        for (let count = 0; count < next.count; count++) this.#say(next.channel, String(this.#said++));
        return;
      case "tell":
        this.#isTold = true;
        return this.#say(next.channel, `${this.#said++} ${next.deed} ${next.other}`);
    }
  }

  async #answer(): Promise<void> {
    // A rule calls Redis when its turn ends, after newer calls of other streams. The test does not compare this order, so
    // it answers all calls.
    if (this.#isTold) return this.#quiet();
    this.rig.redis.answerOne();
    // The effects of a reply happen in a separate turn.
    await settle(2);
  }

  #quiet(): Promise<void> {
    this.#isTold = false;
    return this.rig.quiet();
  }

  #say(channel: string, data: string): void {
    if (channel.startsWith("log")) this.rig.log(channel, { data });
    else this.rig.say(channel, data);
    if (!this.#gathers) this.rig.flush();
  }

  #open(channels: readonly string[], hasRules: boolean): void {
    if (!hasRules) return void this.rig.open(channels);
    const opened: TurnStream = this.rig.open(channels, {
      filter: ({ data }) => this.#do(opened.session, data),
      until: ({ data }) => data.includes(" last "),
    });
    this.#hasRules.add(opened);
  }

  #do(session: PubSubSession, data: string): boolean {
    const [, deed, other] = data.split(" ");
    switch (deed as Deed | undefined) {
      case "remove":
        void session.removeChannel(other!);
        return true;
      case "send":
        session.send({ data: `sent at ${data}` });
        return true;
      case "close":
        void session.close();
        return true;
      case "throw":
        throw new Error("a rule's own fault");
      case "leave out":
        return false;
      case "last":
      case undefined:
        return true;
    }
  }

  #touch(next: Extract<Step, { readonly stream: number }>): void {
    const { streams } = this.rig;
    const touched = streams[next.stream % Math.max(1, streams.length)];
    if (touched === undefined) return;
    const { session, sink } = touched;
    switch (next.do) {
      case "block":
        // A buffered event is dropped with its channel, and gets its id when it is written. A written event is not
        // dropped. So these clients read again before their channels change, and read on until the change is done. A client
        // that blocks before its stream is live gets missed events from history, without an order among channels.
        if (session.state !== "subscribed") return;
        if (!this.#hasRules.has(touched) && !this.#adding.get(touched)) sink.takes = false;
        return;
      case "drain":
        return sink.drain();
      case "close":
        this.#pending.push(session.close());
        return;
      case "send":
        return session.send({ data: `sent ${this.#said++}` });
      case "add":
        sink.drain();
        this.#pending.push(this.#add(touched, next.channel));
        return;
      case "remove":
        sink.drain();
        this.#pending.push(session.removeChannel(next.channel));
        return;
    }
  }

  async #add(stream: TurnStream, channel: string): Promise<void> {
    this.#adding.set(stream, (this.#adding.get(stream) ?? 0) + 1);
    await stream.session.addChannel(channel).catch(() => {});
    this.#adding.set(stream, this.#adding.get(stream)! - 1);
  }

  async #outcome(): Promise<readonly unknown[]> {
    for (const { sink } of this.rig.streams) sink.drain();
    await this.rig.quiet();
    const got = this.rig.streams.map(({ session, sink }) => ({
      got: sink.events.map(({ event, data, id }) => [event, event === "connected" ? "" : data, id]),
      state: session.state,
      reason: session.closeReason,
      waiting: session.statistics.bufferedBytes,
      sent: session.statistics.messagesSent,
    }));
    await this.rig.close();
    await Promise.all(this.#pending);
    return got;
  }
}

for (const subscriptions of ["shared", "dedicated"] as const) {
  describe(`batches of any messages in any event-loop turns, ${subscriptions}`, () => {
    it(`give every stream the same events as single messages (${RUNS} runs)`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
          const gathered = await new World(subscriptions, true).runAll(steps);
          const alone = await new World(subscriptions, false).runAll(steps);
          expect(gathered).to.deep.equal(alone);
        }),
        { numRuns: RUNS, endOnFailure: RUNS > 1_000 },
      );
    }).timeout(20_000 + RUNS * 60);

    it(`cost one write per turn for each stream that gets something (${RUNS} runs)`, async () => {
      const streams = fc.array(fc.uniqueArray(fc.constantFrom(...CHANNELS.slice(0, 5)), { minLength: 1 }), {
        minLength: 1,
        maxLength: 5,
      });
      const turns = fc.array(fc.array(fc.constantFrom(...CHANNELS.slice(0, 5)), { maxLength: 12 }), {
        maxLength: 8,
      });
      await fc.assert(
        fc.asyncProperty(streams, turns, async (opened, said) => {
          const rig = new TurnRig(subscriptions);
          for (const channels of opened) await rig.live(channels);
          const expected = opened.map(() => ({ data: [] as string[], writes: 1 }));
          let count = 0;
          for (const channels of said) {
            const messages = channels.map((name) => ({ name, data: String(count++) }));
            for (const { name, data } of messages) {
              if (name.startsWith("log")) rig.log(name, { data });
              else rig.say(name, data);
            }
            await settle(1);
            for (const [index, own] of opened.entries()) {
              const heard = messages.filter(({ name }) => own.includes(name)).map(({ data }) => data);
              expected[index]!.data.push(...heard);
              if (heard.length > 0) expected[index]!.writes++;
            }
          }
          const got = rig.streams.map((each) => ({ data: [...dataOf(each)], writes: each.sink.writes }));
          await rig.close();
          expect(got).to.deep.equal(expected);
        }),
        { numRuns: RUNS, endOnFailure: RUNS > 1_000 },
      );
    }).timeout(20_000 + RUNS * 60);
  });
}
