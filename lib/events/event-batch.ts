import { EncodedFrames } from "../sse/frame.js";
import { haveOtherStamps, type Position } from "../sse/event-id.js";
import type { InboundEvent } from "./inbound-event.js";

/** A sequence of events of one log without holes. */
export interface LogRun {
  readonly epoch: string;
  readonly first: number;
  /** The stamp of the event before the first one; 0 if unknown. */
  readonly previousStamp: number;
  readonly last: Position;
}

/** Encodes an event for one client. */
export interface FrameEncoder {
  frameOf(event: InboundEvent): string;
}

/**
 * A batch: events of one channel that are written together. They arrived in one event-loop turn, or are part of one page of the
 * history. The properties of the batch are computed once for all sessions.
 */
export class EventBatch {
  readonly channel: string;
  readonly events: readonly InboundEvent[];
  /** Set if all events are in the log without holes, and only the last event can end the channel. */
  readonly run: LogRun | null;
  /** True if no event is in a log, and no event ends the channel. */
  readonly isPlain: boolean;
  /** Whether more than one session gets this batch. */
  readonly isShared: boolean;
  /** The `gap` events that replace events. `null` if the batch has no such event. */
  readonly gaps: readonly InboundEvent[] | null;
  #block: EncodedFrames | null = null;
  #withIds: EncodedFrames | null = null;

  /** `events` has at least one event. */
  constructor(channel: string, events: readonly InboundEvent[], isShared: boolean) {
    this.channel = channel;
    this.events = events;
    this.isShared = isShared;
    this.run = findRun(events);
    this.gaps = events.some(isGap) ? events.filter(isGap) : null;
    this.isPlain = this.run === null && events.every(isPlain);
  }

  get last(): InboundEvent {
    return this.events[this.events.length - 1]!;
  }

  /** All events, without ids. */
  get block(): EncodedFrames {
    return (this.#block ??= this.#encode((event) => event.frame));
  }

  /** All events, encoded by `encoder`. Its result must be the same for all sessions that call this. */
  withIds(encoder: FrameEncoder): EncodedFrames {
    return (this.#withIds ??= this.#encode((event) => encoder.frameOf(event)));
  }

  #encode(encode: (event: InboundEvent) => string): EncodedFrames {
    let text = "";
    for (const event of this.events) text += encode(event);
    return new EncodedFrames(text, this.isShared);
  }
}

function isGap({ gap }: InboundEvent): boolean {
  return gap !== undefined;
}

function isPlain({ position, ending }: InboundEvent): boolean {
  return position === undefined && ending === undefined;
}

function findRun(events: readonly InboundEvent[]): LogRun | null {
  const first = events[0]!.position;
  if (first === undefined) return null;
  const { epoch, previousStamp = 0 } = first;
  let stamp: number | undefined;
  for (let index = 0; index < events.length; index++) {
    const { position, ending } = events[index]!;
    if (position?.offset !== first.offset + index || position.epoch !== epoch) return null;
    if (haveOtherStamps(stamp, position.previousStamp)) return null;
    ({ stamp } = position);
    if (ending !== undefined && index < events.length - 1) return null;
  }
  return { epoch, first: first.offset, previousStamp, last: events[events.length - 1]!.position! };
}

/** Length of the text at which a batch is complete. */
const BATCH_LENGTH = 64 * 1024;

const batchesOfPages = new WeakMap<readonly InboundEvent[], readonly EventBatch[]>();

/** Splits a page of a log into batches. Streams share pages, so they also share these batches. */
export function batchesOf(events: readonly InboundEvent[]): readonly EventBatch[] {
  let batches = batchesOfPages.get(events);
  if (batches === undefined) batchesOfPages.set(events, (batches = split(events)));
  return batches;
}

function split(events: readonly InboundEvent[]): readonly EventBatch[] {
  const batches: EventBatch[] = [];
  let batch: InboundEvent[] = [];
  let length = 0;
  for (const event of events) {
    batch.push(event);
    length += event.frame.length;
    if (length < BATCH_LENGTH) continue;
    batches.push(new EventBatch(event.channel, batch, true));
    batch = [];
    length = 0;
  }
  if (batch.length > 0) batches.push(new EventBatch(batch[0]!.channel, batch, true));
  return batches;
}
