import { expect } from "chai";
import * as fc from "fast-check";

import type { StreamEvent } from "../../lib/events/inbound-event.js";
import type { StreamRequest } from "../../lib/sessions/sink.js";
import { EventReader, isEventBlock, parseBlocks, type ReceivedEvent } from "../support/event-reader.js";
import { settle } from "../support/eventually.js";
import { SessionRig, type RigStream } from "../support/session-rig.js";
import { asRead } from "../support/written-text.js";

/** Set `CUT_RUNS` to test more sequences. */
const RUNS = Number(process.env["CUT_RUNS"] ?? 200);

/** A client that sends this id is answered 204. */
const COMPLETED = "completed";

/** The channels with history. "p" has none, so a client that is away does not get its events. */
const LOGGED = ["a", "b"] as const;

const FATES = ["shown", "shown", "shown", "hidden", "removed", "changed", "failing"] as const;

type Step =
  | { readonly do: "publish"; readonly channel: string; readonly fate: string; readonly text: string }
  | { readonly do: "complete"; readonly channel: string; readonly isSilent: boolean }
  | { readonly do: "heartbeat" | "send" | "turn" };

interface Sequence {
  readonly hasRules: boolean;
  /** How the client opens its first stream. "id": with an id from an earlier stream. */
  readonly wish: "earliest" | "id";
  /** Steps before the client has an id. */
  readonly past: readonly Step[];
  /** Steps between `past` and the stream that is cut. */
  readonly missed: readonly Step[];
  /** Steps during the stream that is cut. */
  readonly live: readonly Step[];
  readonly end: "open" | "drain" | "until" | "complete";
}

const text = fc.constantFrom("", "", "\n", "\r", "\r\n\r\n", " ", "\nid: 1", ":", "\n\ndata: y", "é😀");
const publish = fc.record({
  do: fc.constant("publish" as const),
  channel: fc.constantFrom(...LOGGED, ...LOGGED, "p"),
  fate: fc.constantFrom(...FATES),
  text,
});
const complete = fc.record({
  do: fc.constant("complete" as const),
  channel: fc.constantFrom(...LOGGED),
  isSilent: fc.boolean(),
});
const other = fc.record({ do: fc.constantFrom("heartbeat" as const, "send" as const, "turn" as const) });
const step = fc.oneof(
  { weight: 12, arbitrary: publish },
  { weight: 6, arbitrary: other },
  { weight: 1, arbitrary: complete },
);
const anySequence: fc.Arbitrary<Sequence> = fc.record({
  hasRules: fc.boolean(),
  wish: fc.constantFrom("earliest" as const, "id" as const),
  past: fc.array(publish, { maxLength: 3 }),
  missed: fc.array(publish, { maxLength: 4 }),
  live: fc.array(step, { maxLength: 12, size: "max" }),
  end: fc.constantFrom("open" as const, "drain" as const, "until" as const, "complete" as const),
});

/** The rules of the stream. The text of an event says what they do with it. */
const RULES: StreamRequest = {
  filter: (event) => {
    if (fateOf(event) === "failing") throw new Error("this rule fails");
    return fateOf(event) !== "hidden";
  },
  transform: (event) => {
    if (fateOf(event) === "removed") return null;
    return fateOf(event) === "changed" ? { event: "new", data: `${event.data} changed` } : event;
  },
  until: (event) => fateOf(event) === "last",
};

const fateOf = ({ data }: StreamEvent): string => /^\w+ (\w+)/.exec(data)?.[1] ?? "";

/**
 * When a client stores an id. "early": when the id line has arrived, as `eventsource` 2 does. "dispatch": when the blank
 * line of the block has arrived, as browsers do.
 */
const STORAGES = ["early", "dispatch"] as const;
type IdStorage = (typeof STORAGES)[number];

/** The state of a client when its link breaks. */
interface Cut {
  readonly storage: IdStorage;
  /** The received text, up to the last complete line. */
  readonly text: string;
  /** The events that the client has, and the one event that it loses: its id is stored, and its blank line is missing. */
  readonly had: readonly ReceivedEvent[];
  /** The value of `Last-Event-ID` if the client reconnects now. */
  readonly lastId: string;
}

/** Runs a sequence, and opens two streams for each cut: one at once, and one at the end. */
class World {
  readonly cuts: Cut[] = [];
  /** All that a client must get from `a` and `b`, as `tokensOf` shows it. */
  readonly expected: string[] = [];
  /** The part of it that a client without a cut gets from its first stream. */
  whole: readonly string[] = [];
  /** The streams of clients that resumed with an id. */
  readonly returns = new Map<string, RigStream[]>();
  readonly #rig = new SessionRig();
  readonly #sequence: Sequence;
  readonly #request: StreamRequest;
  readonly #ended = new Set<string>();
  #serial = 0;

  constructor(sequence: Sequence) {
    this.#sequence = sequence;
    const from = sequence.wish === "earliest" ? "earliest" : "now";
    this.#request = { first: [{ data: "first" }], from, ...(sequence.hasRules && RULES) };
  }

  async run(): Promise<RigStream> {
    const { past, missed, live, wish, end } = this.#sequence;
    const before = await this.#open(undefined);
    for (const each of past) this.#do(each);
    const lastId = wish === "earliest" ? wish : before.lastId!;
    before.sink.leave();
    if (wish === "id") this.expected.length = 0;
    for (const each of missed) this.#do(each);
    const original = await this.#open(lastId);
    const cutter = new Cutter(lastId);
    const cutHere = async (): Promise<void> => {
      await settle(3);
      const cuts = cutter.cut(original.sink.text);
      this.cuts.push(...cuts);
      await this.#reopen(cuts);
    };
    await cutHere();
    for (const each of live) {
      this.#do(each, original);
      if (each.do === "turn") await cutHere();
    }
    if (end === "until") this.#publish("a", "last", "");
    if (end === "complete") for (const channel of LOGGED) this.#complete(channel, true);
    this.whole = [...this.expected];
    if (end === "drain") {
      void original.session.close("drain");
      this.#publish("a", "shown", " after the drain");
    }
    await cutHere();
    await this.#reopen(this.cuts);
    return original;
  }

  #open(lastEventId: string | undefined): Promise<RigStream> {
    return this.#rig.open({ ...this.#request, lastEventId }, ...LOGGED, "p");
  }

  async #reopen(cuts: readonly Cut[]): Promise<void> {
    for (const id of new Set(cuts.map(({ lastId }) => lastId))) {
      if (id === COMPLETED) continue;
      const streams = this.returns.get(id) ?? [];
      this.returns.set(id, streams);
      streams.push(await this.#open(id));
    }
  }

  #do(each: Step, original?: RigStream): void {
    if (each.do === "publish") this.#publish(each.channel, each.fate, each.text);
    if (each.do === "complete") this.#complete(each.channel, each.isSilent);
    if (each.do === "heartbeat") this.#rig.clock.advance(16_000);
    if (each.do === "send") original?.session.send({ data: `sent ${this.#serial++}` });
  }

  #publish(channel: string, fate: string, rest: string): void {
    if (this.#ended.has(channel)) return;
    const data = `${channel}${this.#serial++} ${fate}${rest}`;
    this.#expect(channel, fate, data);
    this.#rig.publish(channel, data);
  }

  #complete(channel: string, isSilent: boolean): void {
    if (this.#ended.has(channel)) return;
    this.#ended.add(channel);
    const data = isSilent ? "" : `${channel}${this.#serial++} shown`;
    if (!isSilent) this.#expect(channel, "shown", data);
    this.#rig.complete(channel, data);
  }

  #expect(channel: string, given: string, data: string): void {
    const fate = this.#sequence.hasRules ? given : "shown";
    if (channel === "p" || fate === "hidden" || fate === "removed") return;
    if (fate === "failing") this.expected.push(`${channel} gap`);
    else this.expected.push(asRead(fate === "changed" ? `${data} changed` : data));
  }
}

/** Cuts a stream after every line, because the state of a client changes only there. This covers every byte. */
class Cutter {
  readonly #had: ReceivedEvent[] = [];
  readonly #reader: EventReader;
  readonly #seen = new Set<string>();
  #text = "";
  /** The lines of the current incomplete block. */
  #open = "";

  constructor(lastId: string) {
    this.#reader = new EventReader(
      { onBlock: (block) => isEventBlock(block) && this.#had.push(block) },
      lastId,
    );
  }

  /** Cuts after each new line of this turn. Returns the different states of clients. */
  cut(text: string): readonly Cut[] {
    this.#seen.clear();
    const lines = text.slice(this.#text.length).split(/(?<=\n)/);
    return [
      ...this.#states(lines[0]),
      ...lines.flatMap((line, index) => {
        this.#text += line;
        this.#open = line === "\n" ? "" : this.#open + line;
        this.#reader.feed(line);
        return this.#states(lines[index + 1]);
      }),
    ];
  }

  #states(next: string | undefined): readonly Cut[] {
    return STORAGES.map((storage) => this.#state(storage, next === "\n")).filter(({ had, lastId }) => {
      const key = `${had.length} ${lastId}`;
      return !this.#seen.has(key) && this.#seen.add(key);
    });
  }

  #state(storage: IdStorage, isBlankLineNext: boolean): Cut {
    const cut = { storage, text: this.#text, had: [...this.#had] };
    const [block] = storage === "early" ? parseBlocks(`${this.#open}\n`) : [];
    if (block?.id === undefined) return { ...cut, lastId: this.#reader.lastEventId! };
    if (isBlankLineNext && isEventBlock(block)) cut.had.push(block);
    return { ...cut, lastId: block.id };
  }
}

/** The events of a channel, and its gaps. */
function tokensOf(events: readonly ReceivedEvent[], channel: string): readonly string[] {
  const tokens = events.flatMap(({ event, data }) => {
    if (event !== "gap") return data;
    return (JSON.parse(data) as { channels: string[] }).channels.map((name) => `${name} gap`);
  });
  return tokens.filter((token) => new RegExp(`^${channel}(\\d| gap)`).test(token));
}

async function checkAllCuts(sequence: Sequence): Promise<void> {
  const world = new World(sequence);
  const original = await world.run();
  for (const channel of LOGGED) {
    const ofChannel = (token: string): boolean => token.startsWith(channel);
    const expected = world.expected.filter(ofChannel);
    expect(tokensOf(original.sink.events, channel), "without a cut").to.deep.equal(
      world.whole.filter(ofChannel),
    );
    for (const { storage, text, had, lastId } of world.cuts) {
      const rest = expected.slice(lastId === "earliest" ? 0 : tokensOf(had, channel).length);
      const got =
        lastId === COMPLETED
          ? [[]]
          : world.returns.get(lastId)!.map(({ sink }) => tokensOf(sink.events, channel));
      for (const each of got) {
        const after = JSON.stringify(text.slice(-80));
        expect(each, `stores ids ${storage}, cut after ${after}, with the id "${lastId}"`).to.deep.equal(
          rest,
        );
      }
    }
  }
}

describe("a stream cut at every byte", () => {
  it(`resumes without loss or repetition, with both kinds of client (${RUNS} sequences)`, async () => {
    await fc.assert(fc.asyncProperty(anySequence, checkAllCuts), { numRuns: RUNS });
  }).timeout(20_000 + RUNS * 100);
});
