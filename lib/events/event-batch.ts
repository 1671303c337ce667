import { EncodedFrames } from "../sse/frame.js";
import { haveOtherStamps, type Position } from "../sse/event-id.js";
import type { InboundEvent } from "./inbound-event.js";

/** Events of a log that follow one another without a hole: where the first and the last of them stand. */
export interface LogRun {
  readonly epoch: string;
  readonly first: number;
  /** The stamp of the event before the first one; 0 if unknown. */
  readonly previousStamp: number;
  readonly last: Position;
}

/** Gives an event the form that one client gets. */
export interface FrameEncoder {
  frameOf(event: InboundEvent): string;
}

/**
 * Events of one channel that go out together: those that came within one turn of the loop, or a part of a page. What
 * can be said of all of them at once is found out once, for all sessions.
 */
export class EventBatch {
  readonly channel: string;
  readonly events: readonly InboundEvent[];
  /** Set when all of them are in the log, one behind the other, and none but the last is the channel's end. */
  readonly run: LogRun | null;
  /** None of them is in a log, or ends anything. */
  readonly isPlain: boolean;
  /** Whether more than one session is to get it. */
  readonly isShared: boolean;
  /** Those that stand in the place of an event that nobody can be sent; `null`: none does. */
  readonly gaps: readonly InboundEvent[] | null;
  #block: EncodedFrames | null = null;
  #withIds: EncodedFrames | null = null;

  /** Of at least one event. */
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

  /** All events, none with an id. */
  get block(): EncodedFrames {
    return (this.#block ??= this.#encode((event) => event.frame));
  }

  /** All events, each as `encoder` has it, which has to give the same for every session that asks. */
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

/** From how much text on a batch is a write of its own. */
const BATCH_LENGTH = 64 * 1024;

const batchesOfPages = new WeakMap<readonly InboundEvent[], readonly EventBatch[]>();

/** The events of a page of a log as they are written. Pages are shared by the streams that read them, and so are these. */
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
