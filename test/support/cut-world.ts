import { expect } from "chai";

import type { CutEvent, CutMessage, CutSequence, CutStep, CutTurn } from "./cut-sequence.js";
import type { ReceivedEvent } from "./event-reader.js";
import { settle } from "./eventually.js";
import { SessionRig, type RigStream } from "./session-rig.js";
import { asRead } from "./written-text.js";

/** A published event, as the client receives it. */
interface KnownEvent {
  readonly isShown: boolean;
  /** A rule throws for the event, so the client gets a gap. */
  readonly isFailing: boolean;
  /** The event ends the stream. */
  readonly isLast: boolean;
}

interface Channel {
  readonly events: KnownEvent[];
  isEnded: boolean;
}

/** By channel, the number of the last event that the client received or that was skipped for it. */
export type Places = ReadonlyMap<string, number>;

/** One stream of the client. */
export interface CutStream {
  readonly stream: RigStream;
  readonly lastEventId: string | undefined;
  /** Start position in each channel, if the client has no position there. */
  readonly starts: Places;
  /** Position of each channel at the end of the stream. `null` while the stream is open. */
  ends: Places | null;
}

/** Name of a channel for events of `session.send()`. Only the stream that is cut gets them. */
const SENT = "sent";
/** Name of a channel for the messages of `first`. Every stream gets them. */
const FIRST = "first";

const HEARTBEAT_MS = 15_000;

/** Runs a sequence over logs in memory, and records which events each stream must get. */
export class CutWorld {
  readonly sequence: CutSequence;
  readonly #rig = new SessionRig({ heartbeatMs: HEARTBEAT_MS });
  readonly #channels = new Map<string, Channel>();
  /** Channel and number of each event, by its text as received. */
  readonly #shown = new Map<string, readonly [channel: string, offset: number]>();
  /** Channel and number of each event, by its text as published. */
  readonly #published = new Map<string, { readonly drawn: CutEvent; readonly changed: CutMessage }>();
  readonly #taken = new Set<string>();
  readonly #streams: CutStream[] = [];
  readonly #first: readonly CutMessage[];
  #original: CutStream | null = null;
  turn = 0;

  constructor(sequence: CutSequence) {
    this.sequence = sequence;
    for (const name of [...sequence.channels, FIRST, SENT])
      this.#channels.set(name, { events: [], isEnded: false });
    this.#first = sequence.first.map((message) => this.#addPlain(FIRST, message));
  }

  /** Finds the channel and the number of a received event. */
  find({ event, data }: ReceivedEvent): readonly [channel: string, offset: number] | undefined {
    return this.#shown.get(keyOf({ event, data }));
  }

  eventsOf(channel: string): readonly KnownEvent[] {
    return this.#channels.get(channel)!.events;
  }

  isOriginal(cut: CutStream): boolean {
    return cut === this.#original;
  }

  async run(turn: CutTurn): Promise<void> {
    for (const step of turn) {
      this.#do(step);
      this.#noteEnds();
    }
    await settle(3);
    this.#noteEnds();
    this.turn++;
  }

  /** Opens a stream of the client. */
  async open(lastEventId: string | undefined): Promise<CutStream> {
    const { filter, transform, until } = this.sequence.rules;
    const find = (event: CutMessage) => this.#published.get(keyOf(event))!;
    const starts = Array.from(this.#channels, ([name, { events, isEnded }]): [string, number] => {
      const isWhole = name === FIRST || (isEnded && lastEventId === undefined);
      return [
        name,
        isWhole || (lastEventId === "earliest" && this.#rig.logs.keeps(name)) ? 0 : events.length,
      ];
    });
    const stream = await this.#rig.open(
      {
        lastEventId,
        first: this.#first,
        ...(filter && {
          filter: (event) => {
            const { fate } = find(event).drawn;
            if (fate === "failing") throw new Error("this rule fails");
            return fate !== "hidden";
          },
        }),
        ...(transform && {
          transform: (event) => {
            const { drawn, changed } = find(event);
            if (drawn.fate === "failing") throw new Error("this rule fails");
            return drawn.fate === "removed" ? null : drawn.fate === "changed" ? changed : event;
          },
        }),
        ...(until && { until: (event) => this.#published.get(keyOf(event))?.drawn.isLast }),
      },
      ...this.sequence.channels,
    );
    const cut: CutStream = { stream, lastEventId, starts: new Map(starts), ends: null };
    this.#streams.push(cut);
    this.#noteEnds();
    return cut;
  }

  /** Opens the stream that is cut. Only this stream gets the events of `session.send()`. */
  async openOriginal(lastEventId: string | undefined): Promise<CutStream> {
    return (this.#original = await this.open(lastEventId));
  }

  /** The service drains one stream. */
  async drain(cut: CutStream): Promise<void> {
    void cut.stream.session.close("drain");
    this.#noteEnds();
    await settle(3);
  }

  #do(step: CutStep): void {
    switch (step.do) {
      case "publish":
        if (this.#channels.get(step.channel)!.isEnded) return;
        return this.#rig.publish(step.channel, ...step.events.map((drawn) => this.#add(step.channel, drawn)));
      case "complete": {
        const channel = this.#channels.get(step.channel)!;
        if (channel.isEnded || !this.#rig.logs.keeps(step.channel)) return;
        channel.isEnded = true;
        if (step.event !== null) return this.#rig.complete(step.channel, this.#add(step.channel, step.event));
        channel.events.push({ isShown: false, isFailing: false, isLast: false });
        return this.#rig.complete(step.channel);
      }
      case "send":
        if (this.#original?.ends === null)
          this.#original.stream.session.send(this.#addPlain(SENT, step.message));
        return;
      case "heartbeat":
        return this.#rig.clock.advance(HEARTBEAT_MS + 1_000);
    }
  }

  /** Finds the streams that have ended. They get no more events. */
  #noteEnds(): void {
    for (const cut of this.#streams) {
      if (cut.ends !== null || cut.stream.session.state === "subscribed") continue;
      cut.ends = new Map(Array.from(this.#channels, ([name, { events }]) => [name, events.length]));
    }
  }

  #add(channel: string, drawn: CutEvent): CutMessage {
    const { filter, transform, until } = this.sequence.rules;
    const { fate, isLast } = drawn;
    const message = this.#unique(drawn.message);
    const changed = this.#unique({ event: "changed", data: `${message.data}\r\n${message.event ?? ""}` });
    this.#published.set(keyOf(message), { drawn, changed });
    const isFailing = fate === "failing" && (filter || transform);
    const isHidden = (filter && fate === "hidden") || (transform && fate === "removed");
    const shown = transform && fate === "changed" ? changed : message;
    this.#note(channel, isHidden || isFailing ? null : shown, { isFailing, isLast: until && isLast });
    return message;
  }

  #addPlain(channel: string, message: CutMessage): CutMessage {
    const unique = this.#unique(message);
    this.#note(channel, unique, { isFailing: false, isLast: false });
    return unique;
  }

  #note(channel: string, message: CutMessage | null, how: Omit<KnownEvent, "isShown">): void {
    const { events } = this.#channels.get(channel)!;
    events.push({ isShown: message !== null, ...how });
    if (message !== null) this.#shown.set(keyOf(message), [channel, events.length]);
  }

  /** Makes each event unique, so that a received event can be identified. */
  #unique(message: CutMessage): CutMessage {
    const isTaken = this.#taken.has(keyOf(message));
    const unique = isTaken ? { ...message, data: `${message.data}#${this.#taken.size}` } : message;
    this.#taken.add(keyOf(unique));
    return unique;
  }
}

function keyOf({ event = "message", data }: CutMessage): string {
  return `${event}\n${asRead(data)}`;
}

/**
 * Checks the events of one connection. In each channel, the client must get the events after its position, once each
 * and in order. For each event whose rule throws, it must get a gap.
 */
export class ConnectionJudge {
  readonly #world: CutWorld;
  readonly #cut: CutStream;
  readonly #places: Map<string, number>;
  /** Channels in which the client has passed the event that ends its stream. */
  readonly #over = new Set<string>();
  #hasLast = false;

  /** `client` has the positions of the Last-Event-ID of this connection. */
  constructor(world: CutWorld, cut: CutStream, client: Places = new Map()) {
    this.#world = world;
    this.#cut = cut;
    const own = world.sequence.channels.filter((name) => client.has(name));
    this.#places = new Map([...cut.starts, ...own.map((name) => [name, client.get(name)!] as const)]);
  }

  /** Position of the client in each channel with history, by the events received. */
  get places(): Places {
    return new Map([...this.#places].filter(([name]) => name.startsWith("h")));
  }

  /** The client has received the event that ends its stream. */
  get hasLast(): boolean {
    return this.#hasLast;
  }

  read(events: readonly ReceivedEvent[]): void {
    for (const [index, event] of events.entries()) {
      if (event.event === "closing") expect(index, "nothing follows the end").to.equal(events.length - 1);
      else if (event.event === "gap") this.#takeGap(event);
      else if (event.event !== "connected") this.#takePublished(event);
    }
  }

  /** Expects all events. Use this if the connection was not cut. */
  expectAll(): void {
    const isAnswered = this.#cut.stream.sink.answered !== null;
    const channels = [...this.#places.keys()].filter((name) => !(name === FIRST && isAnswered));
    const next = channels
      .filter((name) => name !== SENT || this.#world.isOriginal(this.#cut))
      .map((name) => [name, this.#nextOf(name)] as const);
    for (const [name, offset] of next) {
      // A stream ends with one event. If another channel has such an event too, the stream may not reach it.
      if (this.#over.size > 0 && offset !== null && this.#world.eventsOf(name)[offset - 1]!.isLast) continue;
      expect(offset, `the next event of ${name}`).to.equal(null);
    }
  }

  #takePublished(event: ReceivedEvent): void {
    const [name, offset] = this.#world.find(event) ?? [];
    expect(name, `a published event, not ${JSON.stringify(event)}`).not.to.equal(undefined);
    this.#take(name!, offset!);
  }

  #takeGap({ data }: ReceivedEvent): void {
    const { channels, reason } = JSON.parse(data) as { channels: string[]; reason: string };
    expect(reason, `reason of a gap of ${channels.join()}`).to.equal("invalid");
    for (const name of channels) {
      const next = this.#nextOf(name);
      expect(this.#world.eventsOf(name)[next! - 1]?.isFailing, `a gap of ${name}`).to.equal(true);
      this.#take(name, next!);
    }
  }

  #take(name: string, offset: number): void {
    expect(offset, `the next event of ${name}`).to.equal(this.#nextOf(name));
    this.#places.set(name, offset);
    this.#noteLast(name, offset);
    this.#hasLast ||= this.#over.has(name);
  }

  #noteLast(name: string, offset: number): void {
    if (this.#world.eventsOf(name)[offset - 1]!.isLast) this.#over.add(name);
  }

  /** The next event of the channel that the client must get, or `null`. */
  #nextOf(name: string): number | null {
    const events = this.#world.eventsOf(name);
    const to = this.#cut.ends?.get(name) ?? events.length;
    for (let offset = this.#places.get(name)! + 1; offset <= to && !this.#over.has(name); offset++) {
      const { isShown, isFailing } = events[offset - 1]!;
      if (isShown || isFailing) return offset;
      this.#noteLast(name, offset);
    }
    return null;
  }
}
