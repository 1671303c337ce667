import { expect } from "chai";
import * as fc from "fast-check";

import { anyCutSequence, type CutSequence } from "../support/cut-sequence.js";
import { ConnectionJudge, CutWorld, type CutStream, type Places } from "../support/cut-world.js";
import { EventReader, isEventBlock, parseBlocks, type ReceivedEvent } from "../support/event-reader.js";

/** Set `CUT_RUNS` to test more sequences. */
const RUNS = Number(process.env["CUT_RUNS"] ?? 200);

/** A client that sends this id is answered 204. */
const COMPLETED = "completed";

/**
 * When a client stores an id. "early": when the id line has arrived, as `eventsource` 2 does. "dispatch": when the blank
 * line of the block has arrived, as browsers do.
 */
type IdStorage = "early" | "dispatch";
const STORAGES: readonly IdStorage[] = ["early", "dispatch"];

/** The state of a client when its link breaks. */
interface Cut extends Stored {
  readonly storage: IdStorage;
  /** The received text, up to the last complete line. */
  readonly text: string;
  readonly turn: number;
  /** The number of events that the client dispatched. */
  readonly dispatched: number;
}

/** A recorded stream and all its distinct cuts. */
class Recording {
  readonly world: CutWorld;
  readonly events: readonly ReceivedEvent[];
  readonly original: CutStream;
  /** The positions of the client before its first stream. */
  readonly client: Places;
  /** The streams after a cut, by id and turn. */
  readonly returns: ReadonlyMap<string, CutStream>;
  readonly cuts: readonly Cut[];

  private constructor(
    world: CutWorld,
    original: CutStream,
    client: Places,
    cuts: readonly Cut[],
    returns: ReadonlyMap<string, CutStream>,
  ) {
    this.world = world;
    this.original = original;
    this.client = client;
    this.cuts = cuts;
    this.returns = returns;
    this.events = original.stream.sink.events;
  }

  /**
   * Runs the sequence. A client whose connection breaks in a turn reconnects twice. After that turn, it continues with live
   * events. At the end, it gets all events from the history.
   */
  static async make(sequence: CutSequence): Promise<Recording> {
    const world = new CutWorld(sequence);
    for (const turn of sequence.past) await world.run(turn);
    const [wish, places] = await findWish(world);
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
    const cutHere = (): Promise<void> => returnNow(cutter.cut(original.stream.sink.text, world.turn));
    await cutHere();
    for (const turn of [...sequence.live, ...endOf(sequence)]) {
      await world.run(turn);
      await cutHere();
    }
    if (sequence.end === "drain") await world.drain(original);
    await world.run([]);
    await cutHere();
    await returnNow(cutter.cuts);
    return new Recording(world, original, places, cutter.cuts, returns);
  }

  /** Checks the stream without a cut. */
  checkWhole(): void {
    const judge = new ConnectionJudge(this.world, this.original, this.client);
    judge.read(this.events);
    judge.expectAll();
  }

  check(cut: Cut): void {
    const before = this.events.slice(0, cut.dispatched);
    // The client loses this event. Every other event must be the same as if the client had it.
    if (cut.skipped !== null) before.push(cut.skipped);
    const judge = new ConnectionJudge(this.world, this.original, this.client);
    judge.read(before);
    if (cut.lastId === COMPLETED) return judge.expectAll();
    // With any other id, the client would get events after the end of its stream.
    expect(judge.hasLast, "an event that ends the stream, without the id that says so").to.equal(false);
    // If the last id is empty or `earliest`, the client starts from the beginning.
    const isAnew = cut.lastId === "" || cut.lastId === "earliest";
    for (const turn of new Set([cut.turn, this.world.turn])) {
      const second = this.returns.get(returnKey(cut.lastId, turn))!;
      const next = new ConnectionJudge(this.world, second, isAnew ? new Map() : judge.places);
      next.read(second.stream.sink.events);
      next.expectAll();
    }
  }
}

/** Cuts a stream after every line, because the state of a client changes only there. This covers every byte. */
class Cutter {
  readonly cuts: Cut[] = [];
  readonly #reader: EventReader;
  readonly #seen = new Set<string>();
  #dispatched = 0;
  #text = "";
  /** The lines of the current incomplete block. */
  #open = "";

  constructor(wish: string | undefined) {
    this.#reader = new EventReader({ onBlock: (block) => isEventBlock(block) && this.#dispatched++ }, wish);
  }

  /** Cuts after each new line of this turn. Returns the new cuts. */
  cut(text: string, turn: number): readonly Cut[] {
    const before = this.cuts.length;
    const lines = text.slice(this.#text.length).split(/(?<=\n)/);
    this.#note(turn, lines[0]);
    for (const [index, line] of lines.entries()) {
      this.#text += line;
      this.#open = line === "\n" ? "" : this.#open + line;
      this.#reader.feed(line);
      this.#note(turn, lines[index + 1]);
    }
    return this.cuts.slice(before);
  }

  #note(turn: number, next: string | undefined): void {
    const dispatched = this.#dispatched;
    for (const storage of STORAGES) {
      const stored = storedIn(storage, this.#reader.lastEventId, this.#open, next === "\n");
      const key = `${storage} ${turn} ${dispatched} ${stored.skipped !== null} ${stored.lastId}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      this.cuts.push({ storage, text: this.#text, turn, dispatched, ...stored });
    }
  }
}

interface Stored {
  /** The value of `Last-Event-ID` if the client reconnects now. */
  readonly lastId: string;
  /** The one event that this client loses: it has stored the id, and only the blank line is missing. */
  readonly skipped: ReceivedEvent | null;
}

/** The stored id of a client if its stream breaks off after the complete lines of `open`. */
function storedIn(storage: IdStorage, lastId = "", open: string, isBlankLineNext: boolean): Stored {
  const [block] = storage === "early" ? parseBlocks(`${open}\n`) : [];
  if (block?.id === undefined) return { lastId, skipped: null };
  return { lastId: block.id, skipped: isBlankLineNext && isEventBlock(block) ? block : null };
}

/** Finds the `Last-Event-ID` of the first stream and the positions of its client. */
async function findWish(world: CutWorld): Promise<readonly [string | undefined, Places]> {
  const { wish } = world.sequence;
  if (wish !== "id") return [wish === "now" ? undefined : wish, new Map()];
  const before = await world.open("earliest");
  // After hidden events, the client gets its position with the heartbeat.
  await world.run([{ do: "heartbeat" }]);
  const { lastId } = before.stream;
  before.stream.sink.leave();
  await world.run([]);
  if (lastId === undefined || lastId === COMPLETED) return [undefined, new Map()];
  const judge = new ConnectionJudge(world, before);
  judge.read(before.stream.sink.events);
  return [lastId, judge.places];
}

function endOf({ end, channels }: CutSequence): CutSequence["live"] {
  if (end !== "complete") return [];
  return channels.map((channel) => [{ do: "complete", channel, event: null }]);
}

function returnKey(lastId: string, turn: number): string {
  return `${turn} ${lastId}`;
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

function describeCut({ original }: Recording, { storage, text, lastId }: Cut): string {
  const around = [text.slice(-80), original.stream.sink.text.slice(text.length, text.length + 40)];
  return `a client that stores ids ${storage}, cut between ${JSON.stringify(around)}, with the id "${lastId}"`;
}
