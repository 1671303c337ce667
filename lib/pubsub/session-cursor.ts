import { encodeCursor, tagOf, type CursorEntry, type Position } from "./cursor.js";
import { encodeId } from "./frame.js";
import type { InboundEvent } from "./inbound-event.js";

/** How far one stream's client has come, by what was written to it: the `id` that goes with each event. */
export class SessionCursor {
  readonly #entries = new Map<string, CursorEntry>();

  /** `undefined` while there is no channel with a history. */
  get id(): string | undefined {
    return this.#entries.size === 0 ? undefined : encodeCursor(this.#entries.values());
  }

  set(channel: string, { epoch, offset }: Position): void {
    const tag = this.#entries.get(channel)?.tag ?? tagOf(channel);
    this.#entries.set(channel, { tag, epoch, offset });
  }

  delete(channel: string): void {
    this.#entries.delete(channel);
  }

  /** The event as it goes to this client, who has come so far with it. */
  frameOf(event: InboundEvent): Buffer {
    const { channel, position, frame } = event;
    if (position === undefined || !this.#entries.has(channel)) return frame;
    this.set(channel, position);
    // What a stream of one channel says depends on nothing else, and is shared by all of them.
    if (this.#entries.size === 1) return (event.framed ??= this.#frame(frame));
    return this.#frame(frame);
  }

  #frame(frame: Buffer): Buffer {
    return Buffer.concat([encodeId(this.id!), frame]);
  }
}
