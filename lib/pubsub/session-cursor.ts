import { encodeEntry, joinEntries, tagOf, type Position } from "./cursor.js";
import { Block } from "./block.js";
import type { EventBatch } from "./event-batch.js";
import { encodeId } from "./frame.js";
import type { InboundEvent } from "./inbound-event.js";

interface Place {
  readonly tag: number;
  position: Position;
  /** Its part of the id, made when that is asked for. */
  encoded: Buffer | null;
}

/** How far one stream's client has come, by what was written to it: the `id` that goes with each event. */
export class SessionCursor {
  #places: Map<string, Place> | null = null;
  /** The channel of the only place there is. */
  #only: string | null = null;
  #isTold = true;

  /** `undefined` while there is no channel with a history. */
  get id(): string | undefined {
    if (this.#places === null) return undefined;
    const entries: Buffer[] = [];
    for (const place of this.#places.values()) {
      const { tag, position } = place;
      entries.push((place.encoded ??= encodeEntry({ tag, ...position })));
    }
    return joinEntries(entries);
  }

  /** Whether the client has an id that says how far it has come: not when it was only passed over events. */
  get isTold(): boolean {
    return this.#isTold;
  }

  set(channel: string, position: Position): void {
    this.#places ??= new Map();
    const place = this.#places.get(channel);
    if (place !== undefined) return move(place, position);
    this.#places.set(channel, { tag: tagOf(channel), position, encoded: null });
    this.#countPlaces();
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
    move(place, position);
    this.#isTold = false;
  }

  /** The id alone, for a client that was passed over events. */
  tell(): string {
    this.#isTold = true;
    return `${encodeId(this.id!)}\n`;
  }

  /** The event as it goes to this client, who has come so far with it. */
  readonly frameOf = (event: InboundEvent): string => {
    const { channel, position, frame } = event;
    const place = position && this.#places?.get(channel);
    if (!place) return frame;
    move(place, position);
    this.#isTold = true;
    return encodeId(this.id!) + frame;
  };

  /** The events as they go to this client. */
  blockOf(batch: EventBatch): Block {
    if (batch.isPlain || this.#places === null) return batch.block;
    if (this.#only === batch.channel && batch.run !== null) {
      // What a stream of one channel says depends on nothing else, and is shared by all of them.
      const block = batch.withIds(this.frameOf);
      const place = this.#places.get(batch.channel)!;
      if (place.position !== batch.run.last) move(place, batch.run.last);
      this.#isTold = true;
      return block;
    }
    let text = "";
    for (const event of batch.events) text += this.frameOf(event);
    return new Block(text);
  }

  #countPlaces(): void {
    const [only = null] = this.#places?.size === 1 ? this.#places.keys() : [];
    this.#only = only;
  }
}

function move(place: Place, position: Position): void {
  place.position = position;
  place.encoded = null;
}
