import { COMPLETED_ID } from "../sse/http-answer.js";
import { encodeEntries, encodeEntry, replacePlace, tagOf, type Position } from "../sse/event-id.js";
import { EncodedFrames, addId, NOTHING } from "../sse/frame.js";
import type { EventBatch, FrameEncoder } from "../events/event-batch.js";
import type { InboundEvent } from "../events/inbound-event.js";

interface Place {
  readonly tag: number;
  position: Position;
  /** Where its part of the id begins and ends. */
  start: number;
  end: number;
}

/** How far one stream's client has come, by what was written to it: the `id` that goes with each event. */
export class SessionCursor implements FrameEncoder {
  #places: Map<string, Place> | null = null;
  /** The parts of the id; an event changes a few bytes of them. `null`: to be made anew. */
  #entries: Buffer | null = null;
  /** The channel of the only place there is. */
  #only: string | null = null;
  #isTold = true;
  /** The last event of the stream was encoded. */
  #isOver = false;

  /** `undefined` while there is no channel with a history. */
  get id(): string | undefined {
    if (this.#places === null) return undefined;
    this.#entries ??= joinPlaces(this.#places.values());
    return encodeEntries(this.#entries);
  }

  /** Whether the client has an id that says how far it has come: not when it was only passed over events. */
  get isTold(): boolean {
    return this.#isTold;
  }

  /** Returns the id for a frame that will be sent. From then on the client counts as knowing it. */
  takeId(): string | undefined {
    this.#isTold = true;
    return this.#isOver ? COMPLETED_ID : this.id;
  }

  /** Sets the place where the client begins in a channel. */
  set(channel: string, position: Position): void {
    this.#isTold = false;
    this.#places ??= new Map();
    const place = this.#places.get(channel);
    if (place !== undefined) return this.#move(place, position);
    this.#places.set(channel, { tag: tagOf(channel), position, start: 0, end: 0 });
    this.#countPlaces();
  }

  /** The same place as of a later time: told with the next event, and not alone. */
  renew(channel: string, position: Position): void {
    const place = this.#places?.get(channel);
    if (place !== undefined) this.#move(place, position);
  }

  delete(channel: string): void {
    if (!this.#places?.delete(channel)) return;
    if (this.#places.size === 0) {
      this.#places = null;
      this.#isTold = true;
    }
    this.#countPlaces();
  }

  /** The client is passed over an event that is not for it. */
  skip({ channel, position }: Pick<InboundEvent, "channel" | "position">): void {
    const place = position && this.#places?.get(channel);
    if (!place) return;
    this.#move(place, position);
    this.#isTold = false;
  }

  /** The id alone, for a client that was passed over events. */
  tell(): string {
    return addId(NOTHING, this.takeId()!);
  }

  /**
   * Encodes an event for this client, and moves the client's place to it. An event without a place carries the id if
   * the client does not know it yet. A gap can be the place where the client begins in a channel that was added.
   */
  frameOf(event: InboundEvent): string {
    const { channel, position, frame } = event;
    const place = position && this.#places?.get(channel);
    if (place) {
      this.#move(place, position);
      this.#isTold = false;
    } else if (position && event.event === "gap") {
      this.set(channel, position);
    }
    if (this.#isTold || frame === NOTHING) return frame;
    return addId(frame, this.takeId()!);
  }

  /** Encodes the event that ends the stream. A client that reconnects with its id is answered 204. */
  lastFrameOf({ frame }: InboundEvent): string {
    this.#isOver = true;
    this.#isTold = false;
    return frame === NOTHING ? frame : addId(frame, this.takeId()!);
  }

  /** The events as they go to this client. */
  blockOf(batch: EventBatch): EncodedFrames {
    if ((batch.isPlain && this.#isTold) || this.#places === null) return batch.block;
    if (this.#only === batch.channel && batch.run !== null) {
      // What a stream of one channel says depends on nothing else, and is shared by all of them.
      const block = batch.withIds(this);
      const place = this.#places.get(batch.channel)!;
      if (place.position !== batch.run.last) this.#move(place, batch.run.last);
      this.#isTold = batch.last.frame !== NOTHING;
      return block;
    }
    let text = "";
    for (const event of batch.events) text += this.frameOf(event);
    return new EncodedFrames(text);
  }

  #move(place: Place, position: Position): void {
    const isSameLog = place.position.epoch === position.epoch && position.epoch !== "";
    place.position = position;
    if (this.#entries === null) return;
    const { start, end } = place;
    if (!isSameLog || !replacePlace(this.#entries, start, end, position)) this.#entries = null;
  }

  #countPlaces(): void {
    this.#entries = null;
    const [only = null] = this.#places?.size === 1 ? this.#places.keys() : [];
    this.#only = only;
  }
}

function joinPlaces(places: Iterable<Place>): Buffer {
  const parts: Buffer[] = [];
  let end = 0;
  for (const place of places) {
    const part = encodeEntry({ tag: place.tag, ...place.position });
    place.start = end;
    place.end = end += part.length;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
