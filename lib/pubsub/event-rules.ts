import { createLog } from "../log.js";
import { encodeEvent } from "./frame.js";
import { createGap, isControl, NO_CHANNEL, NOTHING, type InboundEvent } from "./inbound-event.js";
import { serializeMessage, type OutboundMessage } from "./outbound-message.js";
import type { StreamRequest } from "./sink.js";
import type { StreamEvent } from "./stream-event.js";

const log = createLog("session");

/** What one stream's application wants done with each event: left out, changed, or taken for the last. */
export class EventRules {
  readonly #filter: StreamRequest["filter"];
  readonly #transform: StreamRequest["transform"];
  readonly #until: StreamRequest["until"];
  readonly #maxEventBytes: number;

  private constructor({ filter, transform, until }: StreamRequest, maxEventBytes: number) {
    this.#filter = filter;
    this.#transform = transform;
    this.#until = until;
    this.#maxEventBytes = maxEventBytes;
  }

  /** `null` when there are none: then nobody is asked, and events are written by the batch. */
  static of(request: StreamRequest, maxEventBytes: number): EventRules | null {
    const { filter, transform, until } = request;
    if (filter === undefined && transform === undefined && until === undefined) return null;
    return new EventRules(request, maxEventBytes);
  }

  /** The event as this stream gets it; `null` when it does not. */
  select(event: InboundEvent): InboundEvent | null {
    // What the application sends to this stream alone it has chosen itself.
    if (isControl(event) || event.channel === NO_CHANNEL) return event;
    const seen = seenOf(event);
    try {
      if (this.#filter !== undefined && !this.#filter(seen)) return this.#leaveOut(event);
      if (this.#transform === undefined) return event;
      const message = this.#transform(seen);
      if (message === null || message === undefined) return this.#leaveOut(event);
      return message === seen ? event : change(event, seen, message, this.#maxEventBytes);
    } catch (error) {
      // It may not be for this client's eyes: it is not sent, and that is told.
      log("a rule of this stream threw: %s", nameOf(error));
      return { ...event, ...createGap([event.channel], "invalid", event.channel), published: seen };
    }
  }

  /** Whether the stream ends with this event, which was written. */
  isLast(event: InboundEvent): boolean {
    if (this.#until === undefined || (isControl(event) && event.published === undefined)) return false;
    try {
      return this.#until(seenOf(event));
    } catch (error) {
      log("until() threw: %s", nameOf(error));
      return false;
    }
  }

  /** In its order among the others where something depends on it: what ends the stream, and the last of a channel. */
  #leaveOut(event: InboundEvent): InboundEvent | null {
    return event.ending === undefined && this.#until === undefined ? null : { ...event, frame: NOTHING };
  }
}

function seenOf({ channel, event, data, published }: InboundEvent): StreamEvent {
  return published ?? { channel, event, data };
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : typeof error;
}

/** What was made of an event already, by its text: streams that make the same of it share the encoded form. */
const variants = new WeakMap<InboundEvent, Map<string, InboundEvent>>();

/** Where each stream makes something of its own, nobody asks for it again. */
const MAX_VARIANTS = 64;

function change(
  event: InboundEvent,
  published: StreamEvent,
  message: OutboundMessage,
  maxEventBytes: number,
): InboundEvent {
  const { event: type, data } = serializeMessage(message, maxEventBytes);
  let known = variants.get(event);
  if (known === undefined) variants.set(event, (known = new Map()));
  const text = `${type ?? ""}\n${data}`;
  let variant = known.get(text);
  if (variant === undefined) {
    variant = { ...event, event: type, data, frame: encodeEvent({ event: type, data }), published };
    if (known.size < MAX_VARIANTS) known.set(text, variant);
  }
  return variant;
}
