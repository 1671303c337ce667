import { COMPLETED_ID } from "../sse/http-answer.js";
import { addToken, encodeEntries, encodeEntry, replacePlace, tagOf, type Position } from "../sse/event-id.js";
import { ChannelMap } from "./channel-map.js";
import { EncodedFrames, addId, NOTHING } from "../sse/frame.js";
import type { EventBatch, FrameEncoder } from "../events/event-batch.js";
import type { InboundEvent } from "../events/inbound-event.js";

interface Place {
  readonly channel: string;
  readonly tag: number;
  position: Position;
  /** Where its part of the id starts and ends. */
  start: number;
  end: number;
}

/** The second part of the ids of a stream. See `addToken()`. */
export interface TokenSource {
  /** The current token; `undefined` for none. */
  readonly token: string | undefined;
}

/** The position of one client in each channel, after the events that were written to it. Encodes the `id` of each event. */
export class SessionCursor implements FrameEncoder {
  #places: ChannelMap<Place> | null = null;
  /**
   * The encoded parts of the id. An event changes only a few bytes of them. `null` before the first event, and if they must be
   * encoded again.
   */
  #entries: Buffer | null = null;
  #isTold = true;
  /** The last event of the stream was encoded. */
  #isOver = false;
  readonly #source: TokenSource | null;

  /** `source` has the token of each id; `null` for ids without a token. */
  constructor(source: TokenSource | null = null) {
    this.#source = source;
  }

  /** The current id; `undefined` while no channel has a history and the stream has no token. */
  get id(): string | undefined {
    const places =
      this.#places === null ? undefined : encodeEntries(this.#entries ?? joinPlaces(this.#places.values()));
    const token = this.#source?.token;
    return token === undefined ? places : addToken(places, token);
  }

  /** Whether the client has its current id. False, for example, after it skipped events. */
  get isTold(): boolean {
    return this.#isTold;
  }

  /** Returns the id for a frame that will be sent. After this call, the client counts as having the id. */
  takeId(): string | undefined {
    this.#isTold = true;
    return this.#isOver ? COMPLETED_ID : this.id;
  }

  /** Sets the start position of the client in a channel. */
  set(channel: string, position: Position): void {
    this.#isTold = false;
    this.#places ??= new ChannelMap();
    const place = this.#places.get(channel);
    if (place !== undefined) return this.#move(place, position);
    this.#places.set({ channel, tag: tagOf(channel), position, start: 0, end: 0 });
    this.#entries = null;
  }

  /** The position of the client in a channel, after the events that were written. */
  placeIn(channel: string): Position | undefined {
    return this.#places?.get(channel)?.position;
  }

  /** Notes that the token has changed. The client gets it even if no event follows. */
  untell(): void {
    this.#isTold = false;
  }

  /** Renews the time of a position. The client gets the id with the next event, and not in a separate block. */
  renew(channel: string, position: Position): void {
    const place = this.#places?.get(channel);
    if (place !== undefined) this.#move(place, position);
  }

  delete(channel: string): void {
    if (!this.#places?.delete(channel)) return;
    this.#entries = null;
    if (this.#places.size > 0) return;
    this.#places = null;
    this.#isTold = true;
  }

  /** Moves the position of the client past an event that it does not get. */
  skip({ channel, position }: Pick<InboundEvent, "channel" | "position">): void {
    const place = position && this.#places?.get(channel);
    if (!place) return;
    this.#move(place, position);
    this.#isTold = false;
  }

  /** Encodes the id alone, for a client that skipped events. */
  tell(): string {
    return addId(NOTHING, this.takeId()!);
  }

  /**
   * Encodes an event for this client, and moves its position to the event. An event without a position carries the id if the
   * client does not have it yet. A gap can set the start position in an added channel.
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
    if (this.#places !== null) this.#entries ??= joinPlaces(this.#places.values());
    return addId(frame, this.takeId()!);
  }

  /** Encodes the event that ends the stream. A client that reconnects with its id is answered 204. */
  lastFrameOf({ frame }: InboundEvent): string {
    this.#isOver = true;
    this.#isTold = false;
    return frame === NOTHING ? frame : addId(frame, this.takeId()!);
  }

  /** Encodes a batch for this client. */
  blockOf(batch: EventBatch): EncodedFrames {
    if ((batch.isPlain && this.#isTold) || this.#places === null) return batch.block;
    const place = this.#places.get(batch.channel);
    const isShared = this.#places.size === 1 && this.#source === null;
    if (place !== undefined && isShared && batch.run !== null) {
      // The ids of streams with only this channel are equal, so these streams share the encoded batch.
      const block = batch.withIds(this);
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
