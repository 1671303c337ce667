import { expect } from "chai";
import * as fc from "fast-check";

import type { EventBatch } from "../../lib/events/event-batch.js";
import type { Interruption } from "../../lib/replay/log-head.js";
import type { HubMember } from "../../lib/subscriptions/fan-out.js";
import { oneStepSlices } from "../support/one-step-slices.js";
import { HubRig } from "../unit/subscriptions/hub-rig.js";

const RUNS = Number(process.env["MODEL_RUNS"] ?? 300);
const CHANNELS = ["a", "b", "c"];
const MEMBERS = 4;

/** What the application does with a member, between two messages or while a member gets its events. */
type Action =
  | { readonly do: "join" | "leave"; readonly member: number; readonly channel: string }
  | { readonly do: "catch-up" | "leave-all"; readonly member: number }
  | { readonly do: "flush" | "throw" | "nothing" };

type Step =
  | Action
  | { readonly do: "say" | "interrupt"; readonly channel: string }
  | { readonly do: "burst" | "turn" | "end-turn" };

const member = fc.nat(MEMBERS - 1);
const channel = fc.constantFrom(...CHANNELS);
const change = fc.record({ do: fc.constantFrom("join", "leave"), member, channel });
const catchUp = fc.record({ do: fc.constantFrom("catch-up", "catch-up", "leave-all"), member });
const action = fc.oneof(
  change,
  catchUp,
  fc.record({ do: fc.constantFrom("flush", "throw", "nothing", "nothing") }),
) as fc.Arbitrary<Action>;
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("say"), channel }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("interrupt"), channel }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("burst", "turn", "turn", "end-turn") }) },
  { weight: 2, arbitrary: change },
  { weight: 1, arbitrary: catchUp },
) as fc.Arbitrary<Step>;

/** A member that compares all that it gets with what it must get. */
class Listener implements HubMember {
  round = 0;
  readonly channels = new Set<string>();
  readonly joining = new Set<string>();
  /** What it must still get, in this order: messages, and "!a" for lost messages of the channel "a". */
  due: { readonly channel: string; readonly text: string }[] = [];
  isBusy = false;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  deliver({ channel, events }: EventBatch): void {
    for (const { data } of events) this.#take(channel, data);
    this.#act();
  }

  interrupted(interruptions: readonly Interruption[]): void {
    for (const { channel } of interruptions) this.#take(channel, `!${channel}`);
    this.#act();
  }

  refused(): void {}

  #take(channel: string, text: string): void {
    this.#world.check(() => {
      expect(this.isBusy, `${text} while the member is being served`).to.equal(false);
      expect({ channel, text }).to.deep.equal(this.due.shift());
    });
  }

  #act(): void {
    this.isBusy = true;
    try {
      this.#world.act();
    } finally {
      this.isBusy = false;
    }
  }
}

class World {
  readonly rig: HubRig = new HubRig(oneStepSlices());
  readonly members: readonly Listener[] = Array.from({ length: MEMBERS }, () => new Listener(this));
  readonly #actions: Action[];
  readonly #faults: unknown[] = [];
  #serial = 0;

  constructor(actions: readonly Action[]) {
    this.#actions = [...actions];
  }

  /** The hub catches the errors of its members, so they are kept for the end. */
  check(assert: () => void): void {
    try {
      assert();
    } catch (error) {
      this.#faults.push(error);
    }
  }

  /** Does the next action while a member is being served. */
  act(): void {
    const next = this.#actions.shift();
    if (next !== undefined) this.#do(next);
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const each of steps) {
      this.#step(each);
      if (each.do === "turn") await new Promise((resolve) => setImmediate(resolve));
      // Joins are acknowledged.
      for (let tick = 0; tick < 20; tick++) await Promise.resolve();
      this.#throwFirst();
    }
    await this.rig.hub.close();
    for (const { due } of this.members) this.check(() => expect(due).to.deep.equal([]));
    this.#throwFirst();
  }

  #throwFirst(): void {
    if (this.#faults.length > 0) throw this.#faults[0];
  }

  #step(each: Step): void {
    switch (each.do) {
      case "say":
        return this.#say(each.channel);
      case "burst":
        // A round with many batches.
        for (let count = 1; count <= 4; count++) CHANNELS.forEach((name) => this.#say(name));
        return;
      case "interrupt":
        for (const watched of Array.from(this.rig.hub.watchedLogs())) {
          if (watched.channel !== each.channel) continue;
          this.rig.hub.flush();
          this.#expect(watched.channel, `!${watched.channel}`, true);
          watched.missed();
        }
        return;
      case "turn":
        return;
      case "end-turn":
        return this.rig.hub.flush();
      case "join":
      case "leave":
      case "leave-all":
      case "catch-up":
      case "flush":
      case "throw":
      case "nothing":
        return this.#do(each);
    }
  }

  #say(channel: string): void {
    if (this.rig.connection.handlers === null) return;
    const text = `${channel}${++this.#serial}`;
    this.#expect(channel, text, false);
    this.rig.say(channel, text);
  }

  #expect(channel: string, text: string, isAcknowledged: boolean): void {
    for (const { channels, joining, due } of this.members) {
      if (channels.has(channel) && !(isAcknowledged && joining.has(channel))) due.push({ channel, text });
    }
  }

  #do(each: Action): void {
    switch (each.do) {
      case "join":
        return this.#join(this.members[each.member]!, each.channel);
      case "leave":
        return this.#leave(this.members[each.member]!, each.channel);
      case "leave-all": {
        const one = this.members[each.member]!;
        for (const name of Array.from(one.channels)) this.#leave(one, name);
        return;
      }
      case "catch-up": {
        const one = this.members[each.member]!;
        this.rig.hub.catchUp(one);
        if (!one.isBusy) this.check(() => expect(one.due, "after catchUp()").to.deep.equal([]));
        return;
      }
      case "flush":
        return this.rig.hub.flush();
      case "throw":
        throw new Error("a bug of the application");
      case "nothing":
        return;
    }
  }

  #join(one: Listener, name: string): void {
    if (one.channels.has(name)) return;
    // Messages of this turn arrived before. The actions of other members may add the channel.
    this.rig.hub.flush();
    if (one.channels.has(name)) return;
    one.channels.add(name);
    const joined = this.rig.hub.join(name, one);
    if (joined === undefined) return;
    one.joining.add(name);
    void joined.catch(() => {}).then(() => one.joining.delete(name));
  }

  #leave(one: Listener, name: string): void {
    if (!one.channels.has(name)) return;
    if (!one.isBusy) {
      this.rig.hub.catchUp(one);
      this.check(() => expect(one.due, "after catchUp()").to.deep.equal([]));
    }
    this.rig.hub.leave(name, one);
    one.channels.delete(name);
    one.joining.delete(name);
    // A member that leaves while it is being served gets no more of the channel.
    one.due = one.due.filter(({ channel: each }) => each !== name);
  }
}

describe("FanOut under any sequence of steps, in slices of one step", () => {
  it(`gives each member all messages of its channels once and in order (${RUNS} runs)`, async function () {
    this.timeout(600_000);
    const start = fc.array(fc.subarray(CHANNELS), { minLength: MEMBERS, maxLength: MEMBERS });
    const steps = fc.array(step, { maxLength: 40, size: "max" });
    const actions = fc.array(action, { maxLength: 30, size: "max" });
    await fc.assert(
      fc.asyncProperty(start, steps, actions, async (channels, script, reactions) => {
        const world = new World(reactions);
        const joins = channels.flatMap((names, index) =>
          names.map((name): Step => ({ do: "join", member: index, channel: name })),
        );
        await world.run([...joins, ...script]);
      }),
      { numRuns: RUNS },
    );
  });
});
