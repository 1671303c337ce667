import { encodeEntry, joinEntries, tagOf, type Position } from "./cursor.js";
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
  readonly #places = new Map<string, Place>();

  /** `undefined` while there is no channel with a history. */
  get id(): string | undefined {
    if (this.#places.size === 0) return undefined;
    const entries: Buffer[] = [];
    for (const place of this.#places.values()) {
      const { tag, position } = place;
      entries.push((place.encoded ??= encodeEntry({ tag, ...position })));
    }
    return joinEntries(entries);
  }

  set(channel: string, position: Position): void {
    const place = this.#places.get(channel);
    if (place === undefined) {
      this.#places.set(channel, { tag: tagOf(channel), position, encoded: null });
      return;
    }
    place.position = position;
    place.encoded = null;
  }

  delete(channel: string): void {
    this.#places.delete(channel);
  }

  /** The event as it goes to this client, who has come so far with it. */
  frameOf(event: InboundEvent): Buffer {
    const { channel, position, frame } = event;
    const place = position && this.#places.get(channel);
    if (!place) return frame;
    place.position = position;
    place.encoded = null;
    // What a stream of one channel says depends on nothing else, and is shared by all of them.
    if (this.#places.size === 1) return (event.framed ??= this.#frame(frame));
    return this.#frame(frame);
  }

  #frame(frame: Buffer): Buffer {
    return Buffer.concat([encodeId(this.id!), frame]);
  }
}
