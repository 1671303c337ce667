import { expect } from "chai";

import type { ReceivedEvent } from "./event-reader.js";
import { FIRST, SENT, type CutStream, type CutWorld } from "./cut-world.js";

/** What a client knows when it reconnects. */
export interface ClientState {
  /** For each channel with a history: the newest event that the client has, or that a gap has told it of. */
  readonly places: Map<string, number>;
  /** Channels that were added just before the cut. The client's id may not contain them yet. */
  readonly untold: Set<string>;
}

/** A gap that the stream may send, and the place where the client continues behind it. */
interface AllowedGap {
  readonly reasons: readonly string[];
  readonly place: number;
}

/**
 * Checks the events of one connection. In each channel the client must get the events behind its place, each once and in
 * order. Events may be missing only if a gap names their channel. A gap is allowed only if events may be missing.
 */
export class ConnectionJudge {
  readonly #world: CutWorld;
  readonly #cut: CutStream;
  readonly #client: ClientState;
  readonly #places = new Map<string, number>();
  readonly #gaps = new Map<string, AllowedGap>();
  /** Channels in which the client has passed an event that ends its stream. */
  readonly #over = new Set<string>();
  #hasLast = false;
  /** The last event was a gap without an id. Another gap must follow. */
  #isGapOpen = false;

  constructor(world: CutWorld, cut: CutStream, client: ClientState, isOriginal: boolean) {
    this.#world = world;
    this.#cut = cut;
    this.#client = client;
    for (const name of cut.opened.keys()) this.#begin(name);
    for (const [name, { from }] of cut.heard) if (from !== null) this.#places.set(name, from);
    this.#places.set(FIRST, 0);
    this.#places.set(SENT, isOriginal ? 0 : Infinity);
  }

  read(events: readonly ReceivedEvent[]): void {
    for (const [index, event] of events.entries()) {
      if (event.event === "closing") expect(index, "nothing follows the end").to.equal(events.length - 1);
      this.#take(event);
    }
  }

  /** The client has the event that ends its stream. */
  get hasLast(): boolean {
    return this.#hasLast;
  }

  /** Updates what the client knows of added channels, for a connection that was cut in `turn`. */
  cutIn(turn: number): void {
    for (const [name, { from, turn: added }] of this.#cut.heard) {
      if (from === null || !this.#world.keeps(name) || added > turn) continue;
      if (this.#client.places.has(name)) continue;
      this.#client.places.set(name, from);
      if (added === turn) this.#client.untold.add(name);
    }
  }

  /** Expects every event, for a connection that was not cut. */
  expectAll(): void {
    expect(this.#isGapOpen, "a gap without an id").to.equal(false);
    const { heard, stream } = this.#cut;
    const isAnswered = stream.sink.answered !== null;
    const next = [...heard.keys(), ...(isAnswered ? [] : [FIRST]), SENT].map((name) => {
      expect(this.#places.has(name), `a gap of ${name}, of which something is missing`).to.equal(true);
      return [name, this.#nextOf(name)] as const;
    });
    for (const [name, offset] of next) {
      // A stream ends with one event. Another channel may have such an event too, which the stream may reach or not.
      if (this.#over.size > 0 && offset !== null && this.#world.eventsOf(name)[offset - 1]!.isLast) continue;
      expect(offset, `the next event of ${name}`).to.equal(null);
    }
  }

  #begin(name: string): void {
    const { top, first, isEnded } = this.#cut.opened.get(name)!;
    if (!this.#world.keeps(name)) return void this.#places.set(name, top);
    const { lastEventId } = this.#cut;
    const allow = (...reasons: readonly string[]): unknown => this.#gaps.set(name, { reasons, place: top });
    if (lastEventId === "malformed") return void allow("malformed");
    if (lastEventId === "earliest") return void this.#places.set(name, first - 1);
    if (lastEventId === undefined) {
      if (isEnded && first > 1) return void this.#gaps.set(name, { reasons: ["trimmed"], place: first - 1 });
      return void this.#places.set(name, isEnded ? 0 : top);
    }
    const place = this.#client.places.get(name);
    if (place === undefined) return void allow("foreign");
    this.#places.set(name, place);
    const reasons = [];
    if (this.#client.untold.has(name)) reasons.push("foreign");
    if (first > place + 1) reasons.push("trimmed");
    if (reasons.length > 0) allow(...reasons);
  }

  #take({ event, data, id }: ReceivedEvent): void {
    if (event === "gap") {
      this.#takeGap(JSON.parse(data) as { channels: string[]; reason: string });
    } else {
      // After a cut here the client would get the same gap again.
      expect(this.#isGapOpen, "a gap without an id").to.equal(false);
      if (event !== "connected" && event !== "closing") this.#takePublished(event, data);
    }
    if (id === undefined) return;
    this.#isGapOpen = false;
    for (const name of this.#cut.opened.keys()) {
      const place = this.#places.get(name);
      if (place !== undefined && this.#world.keeps(name)) this.#client.places.set(name, place);
    }
  }

  #takePublished(event: string, data: string): void {
    const known = this.#world.find(event, data);
    expect(known, `a published event, not ${event} ${JSON.stringify(data)}`).not.to.equal(undefined);
    this.#takeEvent(known!.channel, known!.offset);
  }

  #takeGap({ channels, reason }: { readonly channels: readonly string[]; readonly reason: string }): void {
    for (const name of channels) {
      if (reason === "invalid") {
        const next = this.#nextOf(name);
        expect(this.#world.eventsOf(name)[next! - 1]?.isFailing, `a gap of ${name}`).to.equal(true);
        this.#takeEvent(name, next!);
        continue;
      }
      const gap = this.#gaps.get(name);
      expect(reason, `reason of a gap of ${name}`).to.be.oneOf(gap?.reasons ?? []);
      this.#gaps.delete(name);
      this.#places.set(name, gap!.place);
      this.#isGapOpen = true;
    }
  }

  #takeEvent(name: string, offset: number): void {
    expect(this.#places.has(name), `a gap of ${name} before its events`).to.equal(true);
    expect(offset, `the next event of ${name}`).to.equal(this.#nextOf(name));
    this.#places.set(name, offset);
    if (this.#world.keeps(name) && this.#cut.heard.has(name)) this.#client.places.set(name, offset);
    this.#noteLast(name, offset);
    this.#hasLast ||= this.#over.has(name);
  }

  #noteLast(name: string, offset: number): void {
    if (this.#world.eventsOf(name)[offset - 1]!.isLast) this.#over.add(name);
  }

  /** The next event of the channel that the client must get; `null` if there is none. */
  #nextOf(name: string): number | null {
    const events = this.#world.eventsOf(name);
    const to = Math.min(this.#cut.heard.get(name)?.to ?? Infinity, events.length);
    for (let offset = this.#places.get(name)! + 1; offset <= to && !this.#over.has(name); offset++) {
      const { isShown, isFailing } = events[offset - 1]!;
      if (isShown || isFailing) return offset;
      this.#noteLast(name, offset);
    }
    return null;
  }
}
