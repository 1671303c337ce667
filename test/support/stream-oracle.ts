import { expect } from "chai";

import { parseEventId, splitToken, tagOf, type EventIdEntry, type Position } from "../../lib/sse/event-id.js";
import type { GapReason } from "../../lib/events/gap.js";
import { parseBlocks, type ReceivedBlock } from "./event-reader.js";
import { isOversize, type Life, type ScriptedLog } from "./scripted-log.js";

export interface OracleOptions {
  readonly log: ScriptedLog;
  /** The channels of the stream that have history. */
  readonly channels: readonly string[];
  readonly lastEventId: string | undefined;
  readonly maxReplayEvents: number;
  /** Whether all published events have arrived. If so, a stream cannot start before them. */
  readonly allHeard: boolean;
  /** Whether the stream may drop events if its client is slow. */
  readonly drops?: boolean;
  /** Number of the next event without a position. */
  readonly serial?: () => number;
}

/** Position of a history. */
interface Top {
  readonly life: Life | null;
  readonly top: number;
  readonly finite: boolean;
}

type Tops = ReadonlyMap<string, Top>;

/**
 * Checks the events of one client. The client must get each event of the history once, in order and without a hole.
 * For a hole it must get a gap that names the channel and the reason. Each event must have the id of exactly its
 * position.
 */
export class StreamOracle {
  readonly #options: OracleOptions;
  readonly #frames: ReceivedBlock[] = [];
  readonly #opened: Tops;
  /** Position of the client by channel. `null` until the stream has sent its start position. */
  #at: Map<string, Position> | null = null;
  /** Gaps at the start of the stream whose position is not known yet. */
  #begun: Map<string, GapReason> | null = null;
  /** Channels that were added but are not in an id yet. */
  readonly #added = new Map<string, Top | null>();
  #liveSince: Tops | null = null;
  #text = "";
  /** By channel, the last event without a position. */
  readonly #plain = new Map<string, number>();
  readonly #plainSeen = new Set<number>();
  #over = false;
  /** By channel, the state at the time of a `gap` event for dropped events: by epoch, and without positions. */
  readonly #lost = new Map<string, { readonly tops: ReadonlyMap<string, number>; readonly serial: number }>();
  /** Number of `gap` events by reason. */
  readonly gaps: GapReason[] = [];

  constructor(options: OracleOptions) {
    this.#options = options;
    this.#opened = this.#tops(options.channels);
  }

  /** The stream is live. All later events must arrive. */
  live(): void {
    this.#liveSince = this.#tops(this.#options.channels);
  }

  adding(channel: string): void {
    if (!this.#added.has(channel) && !this.#at?.has(channel)) this.#added.set(channel, null);
  }

  added(channel: string): void {
    if (this.#added.has(channel)) this.#added.set(channel, this.#tops([channel]).get(channel)!);
  }

  removed(channel: string): void {
    this.#added.delete(channel);
    this.#at?.delete(channel);
  }

  sawPlain(serial: number): boolean {
    return this.#plainSeen.has(serial);
  }

  /** Whether the client got a `gap` event for dropped events of the channel after this event was published. */
  lostPlain(channel: string, serial: number): boolean {
    return serial < (this.#lost.get(channel)?.serial ?? 0);
  }

  get frames(): number {
    return this.#frames.length;
  }

  /** The Last-Event-ID of a client that has received `count` frames. */
  lastIdAfter(count: number): string | undefined {
    const id = this.#frames.slice(0, count).findLast((frame) => frame.id !== undefined)?.id;
    return id ?? this.#options.lastEventId;
  }

  /** Reads the newly written data. */
  read(text: string): void {
    expect(text.startsWith(this.#text)).to.equal(true);
    for (const frame of parseBlocks(text.slice(this.#text.length))) {
      expect(this.#over, "nothing follows the end").to.equal(false);
      this.#frames.push(frame);
      this.#take(frame);
    }
    this.#text = text;
  }

  /** The stream is live and idle. The client must have all events. */
  expectAll(channels: Iterable<string>): void {
    for (const channel of channels) {
      const position = this.#at?.get(channel);
      // The channel was added while the client did not read. Its position comes with the next event.
      if (position === undefined && this.#added.has(channel)) continue;
      expect(position, `place in ${channel}`).not.to.equal(undefined);
      const { log } = this.#options;
      const lives = log.livesOf(channel);
      if (position!.epoch === "") {
        const life = log.current(channel);
        const ends = life === null ? [0] : this.#ends(channel, life);
        expect(ends, `events of ${channel}, which had no log`).to.include(0);
        continue;
      }
      const index = lives.findIndex(({ epoch }) => epoch === position!.epoch);
      expect(index, `life of ${channel}`).to.be.at.least(0);
      // If events were dropped before another gap, the position of that gap includes them.
      const { top, ending } = lives[index]!;
      if (ending !== "" || position!.offset > top || !this.#isLost(channel, { ...position!, offset: top }))
        expect(position!.offset, `events of ${channel}`).to.be.oneOf(this.#ends(channel, lives[index]!));
      // A client that has a channel up to its end has left it. A later history of the same name is a new one.
      if (lives[index]!.ending !== "") continue;
      for (const later of lives.slice(index + 1))
        expect(later.top, `events of ${channel}, begun anew`).to.equal(0);
    }
  }

  /** The stream ended because its channel is complete. */
  expectComplete(channels: Iterable<string>): void {
    const entries = parsePlaces(this.#options.lastEventId ?? "") ?? [];
    for (const channel of channels) {
      const own = this.#at?.get(channel) ?? entries.find(({ tag }) => tag === tagOf(channel));
      const lives = this.#options.log.livesOf(channel);
      if (own === undefined && this.#added.has(channel)) {
        // The stream ended before the client got its place in the new channel.
        expect(lives.map(({ ending }) => ending).join(""), `ending of ${channel}`).not.to.equal("");
        continue;
      }
      if (own?.epoch === "") {
        // The channel had no history, so a silent end is all that has arrived. Later, other histories may have begun and ended.
        const ends = lives.flatMap((life) => (life.ending === "" ? [] : this.#ends(channel, life)));
        expect(ends, `ends of ${channel}`).to.include(own.offset);
        continue;
      }
      const life = lives.find(({ epoch }) => epoch === own?.epoch);
      expect(life?.ending, `ending of ${channel}`).to.be.oneOf(["completed", "broken"]);
      expect(own?.offset, `all of ${channel}`).to.be.oneOf(this.#ends(channel, life!));
    }
  }

  #take(frame: ReceivedBlock): void {
    const { event, data, id } = frame;
    if (event === "closing") {
      if (id !== undefined && id !== "completed") this.#move(id, "", NOWHERE);
      this.#over = true;
    } else if (event === "connected") {
      this.#connected(JSON.parse(data!) as { recovered: boolean }, id);
    } else if (event === "gap") {
      this.#gap(JSON.parse(data!) as { channels: string[]; reason: GapReason }, id);
    } else if (event === "error" && id !== undefined) {
      if (this.#at === null) this.#begin(id);
      else this.#silent(id, "broken");
    } else if (data === undefined) {
      if (id !== undefined) this.#silent(id, "completed");
    } else if (data.startsWith("plain ")) {
      const [, channel = "", serial] = data.split(" ");
      this.#plainEvent(channel, Number(serial), id);
    } else if (event === "message") {
      const [channel = "", epoch = "", offset = ""] = data.split("/");
      this.#logged(channel, { epoch, offset: Number(offset) }, id);
    }
  }

  #connected({ recovered }: { recovered: boolean }, id: string | undefined): void {
    const { channels, lastEventId } = this.#options;
    this.#begun = new Map();
    if (id !== undefined) this.#begin(id);
    else expect(recovered, "recovered, though gaps follow").to.equal(false);
    if (channels.length === 0) this.#at = new Map();
    if (id !== undefined && channels.length > 0) {
      expect(recovered, "recovered").to.equal(lastEventId !== undefined);
    }
  }

  #gap({ channels, reason }: { channels: string[]; reason: GapReason }, id: string | undefined): void {
    this.gaps.push(reason);
    if (reason === "interrupted") {
      if (id !== undefined) this.#move(id, "", NOWHERE);
      return;
    }
    if (reason === "slow-consumer") return this.#dropped(channels, id);
    if (reason === "too-large") {
      const [channel = ""] = channels;
      const position = this.#placeIn(id, channel);
      expect(isOversize(position!.offset), "too large").to.equal(true);
      return this.#logged(channel, position!, id);
    }
    if (this.#at === null) {
      for (const channel of channels) this.#begun!.set(channel, reason);
      if (id !== undefined) this.#begin(id);
      return;
    }
    expect(channels).to.have.length(1);
    const [channel = ""] = channels;
    const from = this.#at.get(channel);
    const to = this.#placeIn(id, channel)!;
    if (from === undefined) this.#expectAddedBehind(channel, reason, to);
    else this.#expectReason(channel, reason, from, to);
    this.#move(id, channel, to);
  }

  /** Events that already existed were dropped. */
  #dropped(channels: readonly string[], id: string | undefined): void {
    const { log, drops, serial } = this.#options;
    expect(drops, "a stream that drops").to.equal(true);
    for (const channel of channels) {
      const tops = new Map(log.livesOf(channel).map(({ epoch, top }) => [epoch, top]));
      this.#lost.set(channel, { tops, serial: serial?.() ?? 0 });
    }
    if (id === undefined) return;
    const isMoved = (name: string): boolean => {
      const at = this.#at?.get(name);
      const told = this.#placeIn(id, name);
      if (at === undefined) return told !== undefined && told.epoch !== "";
      return told !== undefined && !isSame(at, told);
    };
    // The id can contain the position of another channel that was just added.
    if (!channels.some(isMoved)) return this.#move(id, "", NOWHERE);
    expect(channels, "channels of a gap with a place").to.have.length(1);
    const [channel = ""] = channels;
    const from = this.#at?.get(channel);
    const to = this.#placeIn(id, channel)!;
    const life = log.livesOf(channel).find(({ epoch }) => epoch === to.epoch)!;
    expect(to.offset, "what was dropped").to.be.at.most(life.top);
    if (from !== undefined && this.#before(channel, from, to.epoch) === from) {
      expect(to.epoch, "the same life").to.equal(from.epoch);
      expect(to.offset, "never back to what the client had").to.be.at.least(from.offset);
    }
    this.#move(id, channel, to);
  }

  #isLost(channel: string, { epoch, offset }: Position): boolean {
    return offset <= (this.#lost.get(channel)?.tops.get(epoch) ?? 0);
  }

  /** The event at `position` must follow the client's position, except for events covered by a `gap` event. */
  #expectNext(channel: string, position: Position, at: Position, what: string): void {
    const { epoch, offset } = position;
    const from = this.#before(channel, at, epoch);
    const follows = epoch === from.epoch && offset > from.offset;
    if (follows && this.#isLost(channel, { epoch, offset: offset - 1 })) return;
    expect(position, what).to.deep.equal({ epoch: from.epoch, offset: from.offset + 1 });
  }

  /** If the channel had no history, or a completed one, the client is before the first event of the current history. */
  #before(channel: string, at: Position, epoch: string): Position {
    const life = this.#options.log.livesOf(channel).find((each) => each.epoch === at.epoch);
    const hasEnded =
      life !== undefined && life.ending !== "" && this.#ends(channel, life).includes(at.offset);
    return at.epoch === "" || (hasEnded && epoch !== at.epoch) ? { epoch, offset: 0 } : at;
  }

  /** The reason why a live stream skips events. */
  #expectReason(channel: string, reason: GapReason, left: Position, to: Position): void {
    const { log, maxReplayEvents } = this.#options;
    const lives = log.livesOf(channel);
    const from = reason === "epoch" ? left : this.#before(channel, left, to.epoch);
    const own = lives.findIndex(({ epoch }) => epoch === from.epoch);
    const next = lives.findIndex(({ epoch }) => epoch === to.epoch);
    const life = lives[own]!;
    if (reason === "epoch") {
      if (to.epoch !== "") expect(next, "a later life").to.be.greaterThan(own);
      expect(to.offset, "the beginning of a life").to.equal(0);
      return;
    }
    expect(reason).to.be.oneOf(["trimmed", "limit"]);
    expect(next, "the same life").to.equal(own);
    expect(to.offset, "what is behind a gap").to.be.greaterThan(from.offset);
    if (reason === "trimmed") expect(to.offset, "what is held is not left out").to.be.lessThan(life.base);
    else expect(life.top - from.offset, "what is too much").to.be.greaterThan(maxReplayEvents);
    expect(to.offset).to.be.at.most(life.top);
  }

  #begin(id: string): void {
    const { channels, lastEventId } = this.#options;
    this.#at = new Map();
    const cursor = lastEventId === undefined ? null : parsePlaces(lastEventId);
    for (const channel of channels) {
      const position = this.#placeIn(id, channel);
      expect(position, `${channel} in the first id`).not.to.equal(undefined);
      this.#at.set(channel, position!);
      const given = cursor?.find(({ tag }) => tag === tagOf(channel));
      this.#expectStart(channel, this.#begun!.get(channel), given, position!, cursor !== null);
    }
    expect(parsePlaces(id)).to.have.length(channels.length);
  }

  #expectStart(
    channel: string,
    gap: GapReason | undefined,
    given: Position | undefined,
    { epoch, offset }: Position,
    resumes: boolean,
  ): void {
    const { log, lastEventId, maxReplayEvents, channels, allHeard } = this.#options;
    const what = `beginning in ${channel}`;
    const lives = log.livesOf(channel);
    const life = lives.find((each) => each.epoch === epoch)!;
    const isLast = lives.at(-1) === life && log.current(channel) === life;
    if (epoch === "") return this.#expectNoLog(channel, gap, given, resumes);
    expect(life, what).not.to.equal(undefined);
    expect(offset, what).to.be.at.most(life.top);
    const live = this.#liveSince?.get(channel);
    if (live?.life === life) expect(offset, `${what}: no later than it is live`).to.be.at.most(live.top);
    const opened = this.#opened.get(channel)!;
    if (gap === undefined) {
      if (resumes) {
        const own =
          given?.epoch === "" ? { epoch, offset: 0 } : { epoch: given?.epoch, offset: given?.offset };
        expect({ epoch, offset }, what).to.deep.equal(own);
      } else if (lastEventId === "earliest" || (opened.life === life && opened.finite && allHeard)) {
        if (isLast) expect(offset, `${what}: all that is held`).to.be.lessThan(life.base);
        if (lastEventId === undefined) expect(offset, `${what}: all there ever was`).to.equal(0);
      } else if (allHeard && opened.life === life && !life.finite) {
        expect(offset, `${what}: what comes from now on`).to.be.at.least(opened.top);
      }
      return;
    }
    switch (gap) {
      case "malformed":
        return void expect(lastEventId, what).to.equal("malformed");
      case "foreign":
        expect(resumes, what).to.equal(true);
        return void expect(given, what).to.equal(undefined);
      case "epoch":
        return void expect((given?.epoch ?? epoch) === epoch && isLast, `${what}: of another life`).to.equal(
          false,
        );
      case "trimmed": {
        const from = given?.offset ?? 0;
        if (isLast) expect(life.base, `${what}: trimmed`).to.be.greaterThan(from + 1);
        return void expect(offset, what).to.be.at.least(from);
      }
      case "limit": {
        const cursor = parsePlaces(lastEventId ?? "") ?? [];
        const missing = channels.map((name) => {
          const from = cursor.find(({ tag }) => tag === tagOf(name));
          const own = log.livesOf(name).find((each) => each.epoch === from?.epoch);
          return own === undefined
            ? Math.max(0, ...log.livesOf(name).map(({ top }) => top))
            : own.top - from!.offset;
        });
        // All channels of the stream share the limit of replayed events.
        const all = missing.reduce((sum, count) => sum + count, 0);
        return void expect(all, `${what}: too much`).to.be.greaterThan(maxReplayEvents);
      }
      case "future":
      case "interrupted":
      case "invalid":
      case "too-large":
      case "slow-consumer":
        expect.fail(`${what}: ${gap}`);
    }
  }

  /** The stream starts in a channel without a history. */
  #expectNoLog(
    channel: string,
    gap: GapReason | undefined,
    given: Position | undefined,
    resumes: boolean,
  ): void {
    const { log, lastEventId, allHeard } = this.#options;
    const what = `beginning in ${channel}, which has no log`;
    const { life } = this.#opened.get(channel)!;
    const isGone = life === null || log.current(channel) !== life;
    if (allHeard) expect(isGone, what).to.equal(true);
    if (gap === undefined) return void (resumes && expect(given?.epoch, what).to.equal(""));
    if (gap === "malformed") return void expect(lastEventId, what).to.equal("malformed");
    if (gap === "foreign") return void expect(given, what).to.equal(undefined);
    expect([gap, resumes], what).to.deep.equal(["epoch", true]);
    expect(given!.epoch, what).not.to.equal("");
  }

  #logged(channel: string, position: Position, id: string | undefined): void {
    const at = this.#at?.get(channel);
    if (at === undefined) {
      expect(this.#added.has(channel), `an event of ${channel} before it has begun`).to.equal(true);
      const before = { ...position, offset: position.offset - 1 };
      if (!this.#isLost(channel, before)) this.#expectAdded(channel, before);
    } else {
      this.#expectNext(channel, position, at, `the event of ${channel} behind ${at.epoch} ${at.offset}`);
    }
    this.#move(id, channel, position);
  }

  /** A block with only an id. A channel was added, or a channel ended without an event. */
  #silent(id: string, ending: "completed" | "broken"): void {
    for (const channel of this.#at?.keys() ?? []) {
      const position = this.#placeIn(id, channel);
      const at = this.#at!.get(channel)!;
      if (position === undefined || isSame(position, at)) continue;
      if (ending === "broken" && this.#isSilentEnd(channel, position)) continue;
      const life = this.#options.log.livesOf(channel).find(({ epoch }) => epoch === position.epoch);
      expect(life?.ending, `an id alone in ${channel}`).to.equal(ending);
      this.#expectNext(channel, position, at, `the end of ${channel}`);
      return this.#move(id, channel, position);
    }
    this.#move(id, "", NOWHERE);
  }

  /** Possible positions of a client that has a whole history. An end without an event is sent with the next block. */
  #ends(channel: string, { epoch, top }: Life): readonly number[] {
    return this.#isSilentEnd(channel, { epoch, offset: top }) ? [top - 1, top] : [top];
  }

  /** Whether the entry is an end without an event. It is sent with the next block. */
  #isSilentEnd(channel: string, { epoch, offset }: Position): boolean {
    return this.#options.log.isSilentEnd(channel, epoch, offset);
  }

  /** The id must have this position for `channel`, and the previous positions for all other channels. */
  #move(id: string | undefined, channel: string, to: Position): void {
    expect(id, `an id with what has a place in ${channel}`).not.to.equal(undefined);
    expect(this.#at, "an id before the beginning").not.to.equal(null);
    if (channel !== "") this.#at!.set(channel, to);
    for (const [name, at] of this.#at!) {
      const told = this.#placeIn(id, name);
      // The channel was removed again, because adding it timed out in this turn.
      if (told === undefined && this.#timedOut(name)) continue;
      if (told !== undefined && !isSame(told, at) && this.#isSilentEnd(name, told)) {
        this.#expectNext(name, told, at, `the end of ${name}`);
        this.#at!.set(name, told);
      } else {
        const { epoch, offset } = at;
        expect(told, `${name} in the id of an event of ${channel}`).to.deep.equal({ epoch, offset });
      }
    }
    for (const name of this.#added.keys()) {
      const position = this.#placeIn(id, name);
      if (position === undefined) continue;
      if (name !== channel) this.#expectAdded(name, position);
      this.#at!.set(name, position);
      this.#added.delete(name);
    }
    expect(parsePlaces(id!), "channels in the id").to.have.length(this.#at!.size);
  }

  #timedOut(channel: string): boolean {
    return !this.#options.channels.includes(channel) && this.#at!.delete(channel);
  }

  /** A channel was added, and the client does not get its first events. */
  #expectAddedBehind(channel: string, reason: GapReason, to: Position): void {
    const { log, maxReplayEvents } = this.#options;
    expect(this.#added.has(channel), `a gap of ${channel} before it has begun`).to.equal(true);
    const life = log.livesOf(channel).find(({ epoch }) => epoch === to.epoch)!;
    expect(reason).to.be.oneOf(["trimmed", "limit", "epoch"]);
    expect(to.offset, "what is left out").to.be.at.most(life.top);
    // A new history is sent from its first event.
    if (reason !== "epoch") expect(to.offset, "what is left out").to.be.greaterThan(0);
    if (reason === "limit") expect(life.top, "what is too much").to.be.greaterThan(maxReplayEvents);
    if (reason === "trimmed") expect(life.base, "what was dropped").to.be.greaterThan(1);
  }

  #expectAdded(channel: string, { epoch, offset }: Position): void {
    const added = this.#added.get(channel);
    if (added?.life?.epoch === epoch) {
      expect(offset, `beginning in ${channel}, which was added`).to.be.at.most(added.top);
    }
  }

  #plainEvent(channel: string, serial: number, id: string | undefined): void {
    if (id !== undefined) this.#move(id, "", NOWHERE);
    expect(serial, "events without a place, in order").to.be.greaterThan(this.#plain.get(channel) ?? -1);
    this.#plain.set(channel, serial);
    this.#plainSeen.add(serial);
  }

  #placeIn(id: string | undefined, channel: string): Position | undefined {
    const entries = id === undefined ? null : parsePlaces(id);
    expect(entries, `the id ${id}`).not.to.equal(null);
    const entry = entries!.find(({ tag }) => tag === tagOf(channel));
    return entry && { epoch: entry.epoch, offset: entry.offset };
  }

  #tops(channels: readonly string[]): Tops {
    const { log } = this.#options;
    return new Map(
      channels.map((channel) => {
        const life = log.current(channel);
        return [channel, { life, top: life?.top ?? 0, finite: life?.finite ?? false }];
      }),
    );
  }
}

const isSame = (one: Position, other: Position): boolean =>
  one.epoch === other.epoch && one.offset === other.offset;

const NOWHERE: Position = { epoch: "", offset: 0 };

/** Parses an id. The oracle knows where a client is, so it needs no token. */
function parsePlaces(id: string): readonly EventIdEntry[] | null {
  return parseEventId(splitToken(id).places);
}
