import type { CutEvent, CutMessage, CutSequence, CutStep, CutTurn } from "./cut-sequence.js";
import { settle } from "./eventually.js";
import { SessionRig, type RigStream } from "./session-rig.js";
import { asRead } from "./written-text.js";

/** A published event, and what a client gets of it. */
export interface KnownEvent {
  readonly channel: string;
  /** Its number in its channel, from 1. */
  readonly offset: number;
  /** The client gets the event. */
  readonly isShown: boolean;
  /** A rule throws for it, so the client gets a gap instead. */
  readonly isFailing: boolean;
  /** It ends the stream. */
  readonly isLast: boolean;
}

/** The state of a channel when a stream opens. */
export interface Standing {
  readonly top: number;
  /** The oldest event that is still held. */
  readonly first: number;
  readonly isEnded: boolean;
}

interface Channel {
  readonly events: KnownEvent[];
  first: number;
  isEnded: boolean;
}

/** The events of one channel that a stream gets. */
interface Hearing {
  /** The newest event when the channel was added; `null` if the stream began with this channel. */
  readonly from: number | null;
  /** The turn in which the channel was added. */
  readonly turn: number;
  /** The newest event when the channel was removed or the stream ended. */
  to: number;
}

/** One stream of the client. */
export interface CutStream {
  readonly stream: RigStream;
  readonly lastEventId: string | undefined;
  /** The channels that the stream opened with. */
  readonly opened: ReadonlyMap<string, Standing>;
  readonly heard: Map<string, Hearing>;
  isOver: boolean;
}

/** Stands for a channel of the events of `session.send()`. */
export const SENT = "sent";
/** Stands for a channel of the messages of `first`. Every stream gets them. */
export const FIRST = "first";

const HEARTBEAT_MS = 15_000;

/** Runs a sequence over logs in memory, and records which events each stream must get. */
export class CutWorld {
  readonly sequence: CutSequence;
  readonly #rig = new SessionRig({ heartbeatMs: HEARTBEAT_MS, maxChannelsPerSession: 16 });
  readonly #channels = new Map<string, Channel>();
  /** By the event as a client gets it. */
  readonly #shown = new Map<string, KnownEvent>();
  /** By the event as it was published. */
  readonly #published = new Map<string, { readonly drawn: CutEvent; readonly changed: CutMessage }>();
  readonly #streams: CutStream[] = [];
  readonly #names: Set<string>;
  readonly #removed = new Set<string>();
  readonly #first: readonly CutMessage[];
  #original: CutStream | null = null;
  #serial = 0;
  turn = 0;

  constructor(sequence: CutSequence) {
    this.sequence = sequence;
    this.#names = new Set(sequence.channels);
    this.#first = sequence.first.map((message) => this.#addPlain(FIRST, message));
  }

  /** Finds the published event from what a client got. */
  find(event: string, data: string): KnownEvent | undefined {
    return this.#shown.get(keyOf({ event, data }));
  }

  eventsOf(channel: string): readonly KnownEvent[] {
    return this.#channel(channel).events;
  }

  keeps(channel: string): boolean {
    return this.#rig.keeps(channel);
  }

  async run(turn: CutTurn): Promise<void> {
    for (const step of turn) {
      // A channel must not time out or end while it is added.
      if (step.do === "heartbeat" || step.do === "complete" || step.do === "break") await settle(3);
      this.#do(step);
      this.#noteEnds();
    }
    await settle(3);
    this.#noteEnds();
    this.turn++;
  }

  /** Opens a stream of the client's current channels. */
  async open(lastEventId: string | undefined): Promise<CutStream> {
    const { filter, transform, until } = this.sequence.rules;
    const find = (event: CutMessage) => this.#published.get(keyOf(event))!;
    const opened = new Map([...this.#names].map((name) => [name, this.#standingOf(name)]));
    const heard = Array.from(opened.keys(), (name) => [name, { from: null, turn: 0, to: Infinity }] as const);
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
      ...this.#names,
    );
    const isOver = stream.session.state !== "subscribed";
    const cut = { stream, lastEventId, opened, heard: new Map(heard), isOver };
    if (isOver) this.#end(cut);
    this.#streams.push(cut);
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
      case "publish": {
        if (this.#channel(step.channel).isEnded) return;
        const messages = step.events.map((drawn) => this.#add(step.channel, drawn));
        return this.#rig.publish(step.channel, ...messages);
      }
      case "complete": {
        if (!this.#endable(step.channel)) return;
        if (step.event === null) this.#addSilent(step.channel);
        const message = step.event === null ? "" : this.#add(step.channel, step.event);
        this.#channel(step.channel).isEnded = true;
        return this.#rig.complete(step.channel, message);
      }
      case "break":
        if (!this.#endable(step.channel) || !this.#addBroken(step.channel)) return;
        this.#channel(step.channel).isEnded = true;
        return this.#rig.breakOff(step.channel);
      case "trim":
        return this.#trim(step.channel, step.count);
      case "add":
        return this.#addChannel(step.channel);
      case "remove":
        return this.#removeChannel(step.channel);
      case "send": {
        const { isOver, stream } = this.#original!;
        return isOver ? undefined : stream.session.send(this.#addPlain(SENT, step.message));
      }
      case "heartbeat":
        return this.#rig.clock.advance(HEARTBEAT_MS + 1_000);
    }
  }

  #trim(name: string, count: number): void {
    const channel = this.#channel(name);
    const most = Math.min(count, channel.events.length - channel.first);
    if (!this.keeps(name) || most <= 0) return;
    channel.first += most;
    this.#rig.trim(name, most);
  }

  #addChannel(name: string): void {
    if (this.#names.has(name) || this.#removed.has(name)) return;
    this.#names.add(name);
    const { top, isEnded } = this.#standingOf(name);
    // A stream gets an ended channel from its beginning. Other tests cover that.
    if (isEnded) return void this.#names.delete(name);
    for (const { stream, heard, isOver } of this.#streams) {
      if (isOver) continue;
      heard.set(name, { from: top, turn: this.turn + 1, to: Infinity });
      stream.session.addChannel(name).catch(() => {});
    }
  }

  #removeChannel(name: string): void {
    if (!this.#names.has(name) || this.#names.size === 1) return;
    this.#names.delete(name);
    this.#removed.add(name);
    for (const { stream, heard, isOver } of this.#streams) {
      if (isOver) continue;
      heard.get(name)!.to = this.#standingOf(name).top;
      void stream.session.removeChannel(name);
    }
  }

  /** Finds the streams that have ended. They get no more events. */
  #noteEnds(): void {
    for (const cut of this.#streams)
      if (!cut.isOver && cut.stream.session.state !== "subscribed") this.#end(cut);
  }

  #end(cut: CutStream): void {
    cut.isOver = true;
    for (const [name, hearing] of cut.heard) {
      hearing.to = Math.min(hearing.to, this.#standingOf(name).top);
    }
  }

  #standingOf(name: string): Standing {
    const { events, first, isEnded } = this.#channel(name);
    return { top: events.length, first, isEnded };
  }

  #channel(name: string): Channel {
    const channel = this.#channels.get(name) ?? { events: [], first: 1, isEnded: false };
    this.#channels.set(name, channel);
    return channel;
  }

  #endable(name: string): boolean {
    return this.keeps(name) && !this.#channel(name).isEnded;
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
    this.#note(channel, unique);
    return unique;
  }

  /** A channel's end without an event. */
  #addSilent(channel: string): void {
    this.#note(channel, null);
  }

  /** Every broken channel sends the same event, so a sequence breaks off only one. */
  #addBroken(channel: string): boolean {
    const message = {
      event: "error",
      data: '{"code":"BROKEN","message":"this stream was broken off before its end"}',
    };
    if (this.#shown.has(keyOf(message))) return false;
    this.#note(channel, message);
    return true;
  }

  #note(
    channel: string,
    message: CutMessage | null,
    { isFailing = false, isLast = false }: { isFailing?: boolean; isLast?: boolean } = {},
  ): void {
    const { events } = this.#channel(channel);
    const known = { channel, offset: events.length + 1, isShown: message !== null, isFailing, isLast };
    events.push(known);
    if (message !== null) this.#shown.set(keyOf(message), known);
  }

  /** Makes each event different, so that a client's event tells which one it is. */
  #unique(message: CutMessage): CutMessage {
    const key = keyOf(message);
    const isTaken = this.#shown.has(key) || this.#published.has(key) || this.#reserved.has(key);
    const unique = isTaken ? { ...message, data: `${message.data}#${this.#serial++}` } : message;
    this.#reserved.add(keyOf(unique));
    return unique;
  }

  readonly #reserved = new Set<string>();
}

function keyOf({ event = "message", data }: CutMessage): string {
  return `${event}\n${asRead(data)}`;
}
