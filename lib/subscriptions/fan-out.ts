import type { RedisSseError } from "../errors.js";
import { createLog } from "../log.js";
import { debugTextOf } from "../thrown.js";
import { EventBatch } from "../events/event-batch.js";
import type { InboundEvent } from "../events/inbound-event.js";
import type { Interruption } from "../replay/log-head.js";
import type { Slices, Work } from "../slices.js";

/** A subscriber of channels: a session, or a part of the service itself. */
export interface HubMember {
  /** Number of the newest round that the member got. Only the fan-out sets it. */
  round: number;
  deliver(batch: EventBatch): void;
  /** More than one batch may follow. The member should write all of them together when `uncork()` is called. */
  cork?(): void;
  uncork?(): void;
  /** The member threw an error during a delivery. */
  failed?(): void;
  /** Messages of these channels may be missing, because the connection was lost for some time. */
  interrupted(channels: readonly Interruption[]): void;
  /** Redis refuses the channel, and no more events arrive. The member was already removed from the channel. */
  refused(channel: string, fault: RedisSseError): void;
}

/** The members that get the events of a channel. */
export interface Audience {
  readonly name: string;
  readonly members: Set<HubMember>;
  /** The members that also have other channels; `null` without such members. */
  several: Set<HubMember> | null;
  /** The events of the channel in the round that is being put together. */
  part: Part | null;
}

/** Converts a message to an event. Returns `null` if no member gets it. */
export type ReadEvent<Channel> = (channel: Channel, message: string) => InboundEvent | null;

/** The events of a channel in one round. */
export interface Part {
  readonly audience: Audience;
  readonly batch: EventBatch;
  /** Batches that arrived after events of another channel. */
  later: EventBatch[] | null;
  /** Members that joined after the events had arrived. They get none of these events. */
  joined: Set<HubMember> | null;
}

/** A batch, in the order in which batches arrived. */
interface Arrival {
  readonly index: number;
  readonly part: Part;
  readonly batch: EventBatch;
}

/** The events of one event-loop turn, or a lost connection, on the way to all its members. */
interface Round {
  readonly number: number;
  readonly parts: readonly Part[];
  readonly arrivals: readonly Arrival[];
  /** The arrivals of each channel. Created if there are too many arrivals to look at all of them for each member. */
  byChannel: ReadonlyMap<string, readonly Arrival[]> | null;
  /** Members that get a notice of a lost connection. */
  readonly interruptions: Map<HubMember, readonly Interruption[]> | null;
  /** Length of its messages. */
  readonly length: number;
}

const log = createLog("hub");

/** A round with more batches needs a map of them, because the cost of a member must not depend on other channels. */
const FEW_ARRIVALS = 8;

/**
 * The most text that may wait for the slices to come. With more, all rounds end in this turn. Then the process reads no more from
 * Redis than it can deliver.
 */
const MAX_WAITING_LENGTH = 8 * 1024 * 1024;

/**
 * Delivers messages to the members of their channels, once per event-loop turn.
 *
 * A member with one channel gets the events of the turn as one batch. All such members of the channel get the same object.
 * A member with several channels gets batches in the order in which the messages arrived, and writes them with one write.
 *
 * A round with many members continues in later turns. Later rounds wait for it, so each member gets its events in order.
 */
export class FanOut<Channel extends Audience> {
  readonly #readEvent: ReadEvent<Channel>;
  readonly #channelsOf: (member: HubMember) => ReadonlySet<string>;
  readonly #slices: Slices;
  readonly #turn = new MessageBatcher<Channel>((runs, length) => this.#start(runs, length));
  /** The rounds that some members still have to get, oldest first. */
  readonly #rounds: Round[] = [];
  #lastRound = 0;
  #waitingLength = 0;
  /** The member whose function is running. It has its place in a round, and cannot get the next one yet. */
  #current: HubMember | null = null;
  /** The members whose functions caused the call of the current one, for example because a rule sent an event. */
  readonly #callers: HubMember[] = [];
  #memberFaults = 0;

  /** `channelsOf` returns the names of a member's channels. */
  constructor(
    readEvent: ReadEvent<Channel>,
    channelsOf: (member: HubMember) => ReadonlySet<string>,
    slices: Slices,
  ) {
    this.#readEvent = readEvent;
    this.#channelsOf = channelsOf;
    this.#slices = slices;
  }

  /** Number of errors that members threw during deliveries. */
  get memberFaults(): number {
    return this.#memberFaults;
  }

  add(channel: Channel, message: string): void {
    this.#turn.add(channel, message);
  }

  /** Notes that a member has joined a channel. It gets none of the events that arrived before. */
  joined(channel: Channel, member: HubMember): void {
    for (const { parts } of this.#rounds) {
      for (const part of parts) {
        if (part.audience === channel) (part.joined ??= new Set()).add(member);
      }
    }
  }

  /** Notes that a member has left a channel. It is not told any more that messages of the channel may be missing. */
  left(channel: Channel, member: HubMember): void {
    for (const { interruptions } of this.#rounds) {
      const left = interruptions?.get(member)?.filter((each) => each.channel !== channel.name);
      if (left === undefined) continue;
      if (left.length > 0) interruptions!.set(member, left);
      else interruptions!.delete(member);
    }
  }

  /** Starts a round with the messages that wait for the end of the event-loop turn. */
  flush(): void {
    this.#turn.flush();
  }

  /** Delivers to one member, at once, all that has arrived for it: it is about to do something that must come after. */
  catchUp(member: HubMember): void {
    this.#turn.flush();
    if (this.#rounds.length === 0 || member === this.#current || this.#callers.includes(member)) return;
    const caller = this.#current;
    if (caller !== null) this.#callers.push(caller);
    for (const round of this.#rounds.slice()) {
      this.#deliver(round, member);
      this.#interrupt(round, member);
    }
    if (caller !== null) this.#current = this.#callers.pop()!;
  }

  /** Tells members that messages may be missing, after all rounds that have started. */
  interrupt(interruptions: Map<HubMember, readonly Interruption[]>): void {
    if (interruptions.size > 0)
      this.#add({ parts: [], arrivals: [], byChannel: null, interruptions, length: 0 });
  }

  /** Ends all rounds in this turn. */
  finish(): void {
    this.#turn.flush();
    this.#slices.finish();
  }

  /** Calls one member. If it throws, the other members still get their events. */
  isolate(call: () => void, otherwise?: () => void): void {
    try {
      call();
    } catch (error) {
      this.#blame(error);
      if (otherwise !== undefined) this.isolate(otherwise);
    }
  }

  #start(runs: readonly MessageRun<Channel>[], length: number): void {
    const parts: Part[] = [];
    const arrivals: Arrival[] = [];
    for (const run of runs) {
      const { channel } = run;
      const batch = this.#read(run);
      if (batch === null) continue;
      let { part } = channel;
      if (part === null) {
        parts.push((part = channel.part = { audience: channel, batch, later: null, joined: null }));
      } else {
        (part.later ??= []).push(batch);
      }
      arrivals.push({ index: arrivals.length, part, batch });
    }
    for (const { channel } of runs) channel.part = null;
    if (parts.length === 0) return;
    this.#add({ parts, arrivals, byChannel: null, interruptions: null, length });
    if (this.#waitingLength > MAX_WAITING_LENGTH) this.#slices.finish();
  }

  #add(content: Omit<Round, "number">): void {
    const round = { number: ++this.#lastRound, ...content };
    this.#rounds.push(round);
    this.#waitingLength += round.length;
    this.#slices.add(this.#run(round));
  }

  /** Yields whenever the slice is over. Members may join and leave in between. */
  *#run(round: Round): Work {
    for (const part of round.parts) {
      const { audience, later, batch: first } = part;
      if (audience.several?.size === audience.members.size) continue;
      const batch = later === null ? first : joinBatches([first, ...later]);
      for (const member of audience.members) {
        this.#deliverAlone(round, part, member, batch);
        if (this.#slices.isOver()) yield;
      }
    }
    for (const { audience } of round.parts) {
      for (const member of audience.several ?? []) {
        this.#deliver(round, member);
        if (this.#slices.isOver()) yield;
      }
    }
    for (const member of round.interruptions?.keys() ?? []) {
      this.#interrupt(round, member);
      if (this.#slices.isOver()) yield;
    }
    this.#rounds.shift();
    this.#waitingLength -= round.length;
  }

  /** Delivers to a member that has only this channel. This code runs for each client and each turn, so it needs no closure. */
  #deliverAlone({ number }: Round, part: Part, member: HubMember, batch: EventBatch): void {
    if (member.round >= number || part.audience.several?.has(member) || part.joined?.has(member)) return;
    member.round = number;
    this.#current = member;
    try {
      member.deliver(batch);
    } catch (error) {
      this.#blame(error);
      this.isolate(() => member.failed?.());
    }
    this.#current = null;
  }

  /** Delivers several batches to one member, which writes them together. */
  #deliver(round: Round, member: HubMember): void {
    if (member.round >= round.number) return;
    const arrivals = this.#arrivalsFor(round, member);
    member.round = round.number;
    this.#current = member;
    const isCorked = arrivals.length > 1;
    if (isCorked) this.isolate(() => member.cork?.());
    for (const { part, batch } of arrivals) {
      if (!part.audience.members.has(member) || part.joined?.has(member)) continue;
      this.isolate(
        () => member.deliver(batch),
        () => member.failed?.(),
      );
    }
    if (isCorked) this.isolate(() => member.uncork?.());
    this.#current = null;
  }

  /** All batches of the channels of a member, in order. There may also be batches of other channels. */
  #arrivalsFor(round: Round, member: HubMember): readonly Arrival[] {
    const { arrivals } = round;
    if (arrivals.length <= FEW_ARRIVALS) return arrivals;
    const byChannel = (round.byChannel ??= groupByChannel(arrivals));
    const own: Arrival[] = [];
    for (const name of this.#channelsOf(member)) {
      for (const arrival of byChannel.get(name) ?? NO_ARRIVALS) own.push(arrival);
    }
    return own.toSorted((one, other) => one.index - other.index);
  }

  #interrupt({ interruptions }: Round, member: HubMember): void {
    const channels = interruptions?.get(member);
    if (channels === undefined) return;
    interruptions!.delete(member);
    this.#current = member;
    this.isolate(() => member.interrupted(channels));
    this.#current = null;
  }

  #read({ channel, messages }: MessageRun<Channel>): EventBatch | null {
    if (channel.members.size === 0) return null;
    const isShared = channel.members.size > 1;
    if (messages.length === 1) {
      const event = this.#event(channel, messages[0]!);
      return event && new EventBatch(channel.name, [event], isShared);
    }
    const events: InboundEvent[] = [];
    for (const message of messages) {
      const event = this.#event(channel, message);
      if (event !== null) events.push(event);
    }
    return events.length === 0 ? null : new EventBatch(channel.name, events, isShared);
  }

  /** Reads one message. If this throws, the other messages are still delivered. */
  #event(channel: Channel, message: string): InboundEvent | null {
    try {
      return this.#readEvent(channel, message);
    } catch (error) {
      this.#blame(error);
      return null;
    }
  }

  #blame(error: unknown): void {
    this.#memberFaults++;
    log("a member threw an error: %s", debugTextOf(error));
  }
}

const NO_ARRIVALS: readonly Arrival[] = [];

function groupByChannel(arrivals: readonly Arrival[]): ReadonlyMap<string, readonly Arrival[]> {
  const groups = new Map<string, Arrival[]>();
  for (const arrival of arrivals) {
    const { name } = arrival.part.audience;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [arrival]);
    else group.push(arrival);
  }
  return groups;
}

function joinBatches(batches: readonly EventBatch[]): EventBatch {
  const [first] = batches;
  const events = batches.flatMap((batch) => batch.events);
  return new EventBatch(first!.channel, events, first!.isShared);
}

/** Consecutive messages of one channel. */
export interface MessageRun<Channel> {
  readonly channel: Channel;
  readonly messages: readonly string[];
}

/** More characters than this are delivered at once. If Redis sends without a pause, an event-loop turn can be long. */
const MAX_TURN_LENGTH = 256 * 1024;

/**
 * Gathers the messages of one event-loop turn. Redis often sends many messages at once. Gathered messages cost each client
 * only one write. They wait only for the end of the turn, and never for a timer.
 */
export class MessageBatcher<Channel> {
  readonly #onTurn: (runs: readonly MessageRun<Channel>[], length: number) => void;
  #runs: { readonly channel: Channel; readonly messages: string[] }[] = [];
  #length = 0;
  #end: NodeJS.Immediate | null = null;

  constructor(onTurn: (runs: readonly MessageRun<Channel>[], length: number) => void) {
    this.#onTurn = onTurn;
  }

  add(channel: Channel, message: string): void {
    const last = this.#runs[this.#runs.length - 1];
    if (last?.channel === channel) last.messages.push(message);
    else this.#runs.push({ channel, messages: [message] });
    this.#length += message.length;
    if (this.#length > MAX_TURN_LENGTH) this.flush();
    else this.#end ??= setImmediate(this.#flush);
  }

  /** Delivers the gathered messages now, to keep the order: the caller will do something that must come after them. */
  flush(): void {
    if (this.#runs.length === 0) return;
    const runs = this.#runs;
    const length = this.#length;
    this.clear();
    this.#onTurn(runs, length);
  }

  clear(): void {
    if (this.#end !== null) clearImmediate(this.#end);
    this.#end = null;
    this.#runs = [];
    this.#length = 0;
  }

  readonly #flush = (): void => this.flush();
}
