import type { RedisSseError } from "../errors.js";
import { createLog } from "../log.js";
import { describeThrown } from "../sync-callback.js";
import { EventBatch } from "../events/event-batch.js";
import type { InboundEvent } from "../events/inbound-event.js";
import type { Interruption } from "../replay/log-head.js";

/** A subscriber of channels: a session, or a part of the service itself. */
export interface HubMember {
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
  /** The events of the channel in this event-loop turn. */
  part: Part | null;
}

/** Converts a message to an event. Returns `null` if no member gets it. */
export type ReadEvent<Channel> = (channel: Channel, message: string) => InboundEvent | null;

/**
 * The events of a channel in this event-loop turn, and the members that the channel had at the start. During a delivery,
 * members may join or leave channels. Each member must still get each event once.
 */
export interface Part {
  readonly members: ReadonlySet<HubMember>;
  readonly alone: Iterable<HubMember>;
  readonly several: readonly HubMember[];
  readonly batch: EventBatch;
  /** Batches that arrived after events of another channel. */
  later: EventBatch[] | null;
  /** Members that joined during the delivery. They get none of these events, which arrived earlier. */
  joined: Set<HubMember> | null;
}

interface Delivery {
  readonly part: Part;
  readonly batch: EventBatch;
}

const log = createLog("hub");

/**
 * Delivers messages to the members of their channels, once per event-loop turn.
 *
 * A member with one channel gets the events of the turn as one batch. All such members of the channel get the same object.
 * A member with several channels gets batches in the order in which the messages arrived, and writes them with one write.
 */
export class FanOut<Channel extends Audience> {
  readonly #readEvent: ReadEvent<Channel>;
  readonly #turn = new MessageBatcher<Channel>((runs) => this.#deliver(runs));
  /** The parts that are being delivered. A member that reacts to an event can start another delivery. */
  readonly #underWay: Part[] = [];
  #memberFaults = 0;

  constructor(readEvent: ReadEvent<Channel>) {
    this.#readEvent = readEvent;
  }

  /** Number of errors that members threw during deliveries. */
  get memberFaults(): number {
    return this.#memberFaults;
  }

  add(channel: Channel, message: string): void {
    this.#turn.add(channel, message);
  }

  /** Notes that a member has joined a channel. It gets none of the events that are being delivered. */
  joined({ members }: Channel, member: HubMember): void {
    for (const part of this.#underWay) {
      if (part.members === members) (part.joined ??= new Set()).add(member);
    }
  }

  /** Delivers the messages that wait for the end of the event-loop turn. */
  flush(): void {
    this.#turn.flush();
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

  #deliver(runs: readonly MessageRun<Channel>[]): void {
    const parts: Part[] = [];
    const together: Delivery[] = [];
    for (const run of runs) {
      const { channel } = run;
      const batch = this.#read(run);
      if (batch === null) continue;
      let { part } = channel;
      if (part === null) parts.push((part = channel.part = partOf(channel, batch)));
      else (part.later ??= []).push(batch);
      if (part.several !== NOBODY) together.push({ part, batch });
    }
    for (const { channel } of runs) channel.part = null;
    const others = this.#underWay.length;
    this.#underWay.push(...parts);
    for (const part of parts) this.#deliverAlone(part);
    if (together.length > 0) this.#deliverTogether(together);
    this.#underWay.length = others;
  }

  #deliverAlone(part: Part): void {
    const { members, alone, batch: first, later } = part;
    if (alone === NOBODY) return;
    const batch = later === null ? first : joinBatches([first, ...later]);
    for (const member of alone) {
      if (alone !== members && !members.has(member)) continue;
      if (part.joined !== null && part.joined.has(member)) continue;
      // This code runs for each client and each turn. It does not use isolate(), which needs a closure.
      try {
        member.deliver(batch);
      } catch (error) {
        this.#blame(error);
        this.isolate(() => member.failed?.());
      }
    }
  }

  #deliverTogether(deliveries: readonly Delivery[]): void {
    const corked = new Set<HubMember>();
    for (const { part, batch } of deliveries) {
      for (const member of part.several) {
        if (!part.members.has(member) || part.joined?.has(member)) continue;
        if (deliveries.length > 1 && !corked.has(member)) {
          corked.add(member);
          this.isolate(() => member.cork?.());
        }
        this.isolate(
          () => member.deliver(batch),
          () => member.failed?.(),
        );
      }
    }
    for (const member of corked) this.isolate(() => member.uncork?.());
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
    log("a member threw an error: %s", describeThrown(error));
  }
}

const NOBODY: readonly HubMember[] = [];

function partOf({ members, several }: Audience, batch: EventBatch): Part {
  if (several === null || several.size === 0)
    return { members, alone: members, several: NOBODY, batch, later: null, joined: null };
  const alone =
    several.size === members.size ? NOBODY : [...members].filter((member) => !several.has(member));
  return { members, alone, several: [...several], batch, later: null, joined: null };
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
  readonly #onTurn: (runs: readonly MessageRun<Channel>[]) => void;
  #runs: { readonly channel: Channel; readonly messages: string[] }[] = [];
  #length = 0;
  #end: NodeJS.Immediate | null = null;

  constructor(onTurn: (runs: readonly MessageRun<Channel>[]) => void) {
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
    this.clear();
    this.#onTurn(runs);
  }

  clear(): void {
    if (this.#end !== null) clearImmediate(this.#end);
    this.#end = null;
    this.#runs = [];
    this.#length = 0;
  }

  readonly #flush = (): void => this.flush();
}
