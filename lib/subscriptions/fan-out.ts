import type { RedisSseError } from "../errors.js";
import { createLog } from "../log.js";
import { describeThrown } from "../sync-callback.js";
import { EventBatch } from "../events/event-batch.js";
import type { InboundEvent } from "../events/inbound-event.js";
import type { Interruption } from "../replay/log-head.js";

/** Who receives the events of a channel: a session, or a part of the service itself. */
export interface HubMember {
  deliver(batch: EventBatch): void;
  /** More than one batch may follow: what they come to is to be written together, with `uncork()`. */
  cork?(): void;
  uncork?(): void;
  /** It threw while events were delivered to it. */
  failed?(): void;
  /** Messages of these channels may be missing: the connection was lost and is back. */
  interrupted(channels: readonly Interruption[]): void;
  /** The server took the channel away: nothing more comes. The member has left it already. */
  refused(channel: string, fault: RedisSseError): void;
}

/** Who gets the events of a channel. */
export interface Audience {
  readonly name: string;
  readonly members: Set<HubMember>;
  /** Those of them that have other channels as well; `null`: there are none. */
  several: Set<HubMember> | null;
  /** What it has for them this turn. */
  part: Part | null;
}

/** Makes an event of a message; `null`: nobody gets it. */
export type ReadEvent<Channel> = (channel: Channel, message: string) => InboundEvent | null;

/**
 * What a channel has for its members this turn, and who they were when it began: what they do with it may change who
 * has one channel and who has several, and each gets it once all the same.
 */
export interface Part {
  readonly members: ReadonlySet<HubMember>;
  readonly alone: Iterable<HubMember>;
  readonly several: readonly HubMember[];
  readonly batch: EventBatch;
  /** Those that came behind another channel's. */
  later: EventBatch[] | null;
  /** Members that have joined since it began: what it has was there before them. */
  joined: Set<HubMember> | null;
}

interface Delivery {
  readonly part: Part;
  readonly batch: EventBatch;
}

const log = createLog("hub");

/**
 * Passes messages on to the members of their channels: those of one turn of the loop together. Who has one channel gets
 * its events as one batch, the same object as all others who have it alone. Who has several gets them in the order of
 * their coming, channel by channel, and writes what they come to with one write.
 */
export class FanOut<Channel extends Audience> {
  readonly #readEvent: ReadEvent<Channel>;
  readonly #turn = new MessageBatcher<Channel>((runs) => this.#deliver(runs));
  /** What is being passed on: a member that acts on it may have more of them under way. */
  readonly #underWay: Part[] = [];
  #memberFaults = 0;

  constructor(readEvent: ReadEvent<Channel>) {
    this.#readEvent = readEvent;
  }

  /** Members that threw while something was passed on to them. */
  get memberFaults(): number {
    return this.#memberFaults;
  }

  add(channel: Channel, message: string): void {
    this.#turn.add(channel, message);
  }

  /** A member has come: it gets nothing of what is being passed on. */
  joined({ members }: Channel, member: HubMember): void {
    for (const part of this.#underWay) {
      if (part.members === members) (part.joined ??= new Set()).add(member);
    }
  }

  /** Passes on what has come so far, and waits for the end of the turn. */
  flush(): void {
    this.#turn.flush();
  }

  /** One member that throws never keeps anything from the others. */
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
      // Not by isolate(): this is run for each client and each turn.
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

  /** One message that cannot be read takes none of the others with it. */
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
    log("a member threw: %s", describeThrown(error));
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

/** Messages of one channel that came one right behind the other. */
export interface MessageRun<Channel> {
  readonly channel: Channel;
  readonly messages: readonly string[];
}

/** Above this they are passed on at once: the turn of a server that sends without a pause may be long. */
const MAX_TURN_LENGTH = 256 * 1024;

/**
 * The messages of one turn of the event loop. Redis sends many at a time; passed on together, they cost each client one
 * write. They wait for the end of the turn, which follows at once, and never for a timer.
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

  /** Passes on what has come so far: something is about to happen that it came before. */
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
