import { expect } from "chai";
import * as fc from "fast-check";

import { ByteReader, readAll, type IdStorage, type ReadEvent } from "../support/byte-reader.js";
import { ConnectionJudge, type ClientState } from "../support/cut-judge.js";
import { anyCutSequence, type CutSequence } from "../support/cut-sequence.js";
import { CutWorld, type CutStream } from "../support/cut-world.js";

/** Set `CUT_RUNS` to test more sequences. */
const RUNS = Number(process.env["CUT_RUNS"] ?? 200);

/** A client that sends this id is answered 204. */
const COMPLETED = "completed";

const LF = 10;

/** The state of a client when its link breaks. */
interface Cut {
  readonly storage: IdStorage;
  /** The number of bytes that arrived. */
  readonly at: number;
  readonly turn: number;
  readonly lastId: string;
  /** The number of events that the client dispatched. */
  readonly dispatched: number;
  /** The one event that this client loses: it has stored the id, and only the blank line is missing. */
  readonly skipped: ReadEvent | null;
}

/** A recorded stream, and all its cuts that differ. */
class Recording {
  readonly world: CutWorld;
  readonly bytes: Buffer;
  readonly events: readonly ReadEvent[];
  readonly original: CutStream;
  readonly client: ClientState;
  /** The streams after a cut, by id and turn. */
  readonly returns: ReadonlyMap<string, CutStream>;
  readonly cuts: readonly Cut[];

  private constructor(
    world: CutWorld,
    original: CutStream,
    client: ClientState,
    cuts: readonly Cut[],
    returns: ReadonlyMap<string, CutStream>,
  ) {
    this.world = world;
    this.original = original;
    this.client = client;
    this.cuts = cuts;
    this.returns = returns;
    this.bytes = Buffer.from(original.stream.sink.text);
    this.events = readAll(this.bytes);
  }

  /**
   * Runs the sequence. A client whose link broke in a turn reconnects twice: after that turn, to go on with live events, and
   * at the end, to get everything from the history.
   */
  static async make(sequence: CutSequence): Promise<Recording> {
    const world = new CutWorld(sequence);
    const places = new Map<string, number>();
    for (const turn of sequence.past) await world.run(turn);
    const wish = await findWish(world, places);
    for (const turn of sequence.missed) await world.run(turn);
    const original = await world.openOriginal(wish);
    const cutter = new Cutter(wish);
    const returns = new Map<string, CutStream>();
    const returnNow = async (cuts: readonly Cut[]): Promise<void> => {
      const ids = new Set(cuts.map(({ lastId }) => lastId).filter((id) => id !== COMPLETED));
      await Promise.all(
        Array.from(ids, async (id) => {
          const key = returnKey(id, world.turn);
          if (!returns.has(key)) returns.set(key, await world.open(id === "" ? undefined : id));
        }),
      );
    };
    const cutHere = (): Promise<void> =>
      returnNow(cutter.cut(Buffer.from(original.stream.sink.text), world.turn));
    await cutHere();
    for (const turn of [...sequence.live, ...endOf(sequence)]) {
      await world.run(turn);
      await cutHere();
    }
    if (sequence.end === "drain") await world.drain(original);
    await world.run([]);
    await cutHere();
    await returnNow(cutter.cuts);
    return new Recording(world, original, { places, untold: new Set() }, cutter.cuts, returns);
  }

  /** Checks the stream without a cut. */
  checkWhole(): void {
    const judge = new ConnectionJudge(this.world, this.original, copyOf(this.client), true);
    judge.read(this.events);
    judge.expectAll();
  }

  check(cut: Cut): void {
    const client = copyOf(this.client);
    const before = this.events.slice(0, cut.dispatched);
    // The client loses this event. Every other event must be the same as if the client had it.
    if (cut.skipped !== null) before.push(cut.skipped);
    const judge = new ConnectionJudge(this.world, this.original, client, true);
    judge.read(before);
    if (cut.lastId === COMPLETED) return judge.expectAll();
    // With any other id the client would get events behind the end of its stream.
    expect(judge.hasLast, "an event that ends the stream, without the id that says so").to.equal(false);
    judge.cutIn(cut.turn);
    for (const turn of new Set([cut.turn, this.world.turn])) {
      const second = this.returns.get(returnKey(cut.lastId, turn))!;
      const next = new ConnectionJudge(this.world, second, copyOf(client), false);
      next.read(readAll(Buffer.from(second.stream.sink.text)));
      next.expectAll();
    }
  }
}

/** Cuts a stream at every byte. Two cuts with the same client state are one cut. */
class Cutter {
  readonly cuts: Cut[] = [];
  readonly #readers: readonly (readonly [IdStorage, ByteReader])[];
  readonly #seen = new Set<string>();
  #at = 0;

  constructor(lastId: string | undefined) {
    this.#readers = (["early", "dispatch"] as const).map((kind) => [kind, new ByteReader(kind, lastId)]);
  }

  /** Cuts at each new byte of this turn. Returns the new cuts. */
  cut(bytes: Buffer, turn: number): readonly Cut[] {
    const before = this.cuts.length;
    this.#note(bytes, turn);
    while (this.#at < bytes.length) {
      for (const [, reader] of this.#readers) reader.feedByte(bytes[this.#at]!);
      this.#at++;
      this.#note(bytes, turn);
    }
    return this.cuts.slice(before);
  }

  #note(bytes: Buffer, turn: number): void {
    for (const [storage, reader] of this.#readers) {
      const { lastId, events } = reader;
      const skipped = bytes[this.#at] === LF ? reader.skipped : null;
      const key = `${storage} ${turn} ${events.length} ${skipped !== null} ${lastId}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      this.cuts.push({ storage, at: this.#at, turn, lastId, dispatched: events.length, skipped });
    }
  }
}

/** Finds the `Last-Event-ID` of the first stream. */
async function findWish(world: CutWorld, places: Map<string, number>): Promise<string | undefined> {
  const { wish } = world.sequence;
  if (wish === "earliest" || wish === "malformed") return wish;
  if (wish === "now") return undefined;
  const before = await world.open("earliest");
  // After hidden events the client gets its place with the heartbeat.
  await world.run([{ do: "heartbeat" }]);
  const { lastId } = before.stream;
  before.stream.sink.leave();
  await world.run([]);
  if (lastId === undefined || lastId === COMPLETED) return undefined;
  for (const [name, { top }] of before.opened) if (world.keeps(name)) places.set(name, top);
  return lastId;
}

function endOf({ end, channels }: CutSequence): CutSequence["live"] {
  if (end !== "complete") return [];
  return channels.map((channel) => [{ do: "complete", channel, event: null }]);
}

function returnKey(lastId: string, turn: number): string {
  return `${turn} ${lastId}`;
}

function copyOf({ places, untold }: ClientState): ClientState {
  return { places: new Map(places), untold: new Set(untold) };
}

describe("a stream cut at every byte", () => {
  it(`resumes without loss or repetition, with both kinds of client (${RUNS} sequences)`, async () => {
    await fc.assert(
      fc.asyncProperty(anyCutSequence, async (sequence) => {
        const recording = await Recording.make(sequence);
        recording.checkWhole();
        for (const cut of recording.cuts) {
          try {
            recording.check(cut);
          } catch (error) {
            throw new Error(describeCut(recording, cut), { cause: error });
          }
        }
      }),
      { numRuns: RUNS },
    );
  }).timeout(20_000 + RUNS * 100);
});

function describeCut({ bytes }: Recording, { storage, at, lastId }: Cut): string {
  const text = (from: number, to: number): string => JSON.stringify(bytes.toString("utf8", from, to));
  return `a client that stores ids ${storage}, cut after ${at} bytes, between ${text(Math.max(0, at - 80), at)} and ${text(at, at + 40)}, with the id "${lastId}"`;
}
