import { AsyncResource } from "node:async_hooks";

import { ConfigError } from "../errors.js";
import { atOnce, tellFailure, type OnRuleError, type RuleName } from "../sync-callback.js";
import { encodeEvent, NOTHING } from "../sse/frame.js";
import { isControl, type InboundEvent, type StreamEvent } from "../events/inbound-event.js";
import { createGap } from "../events/gap.js";
import { NO_CHANNEL } from "../events/channel-name.js";
import { serializeMessage, type OutboundMessage } from "../events/outbound-message.js";
import type { StreamRequest } from "./sink.js";

/** What the service gives the rules of its streams. */
export interface EventRulesContext {
  readonly settings: { readonly maxEventBytes: number };
  /** Counts that a rule failed: of the gap that it makes nothing else is counted. */
  readonly onRuleFailure: (rule: RuleName) => void;
}

/** What one stream's application wants done with each event: left out, changed, or taken for the last. */
export class EventRules {
  readonly #filter: StreamRequest["filter"];
  readonly #transform: StreamRequest["transform"];
  readonly #until: StreamRequest["until"];
  readonly #onError: OnRuleError | undefined;
  readonly #context: EventRulesContext;

  private constructor({ filter, transform, until, onError }: StreamRequest, context: EventRulesContext) {
    // Events may be passed on in the midst of another request, or as the first one's connection has them.
    this.#filter = filter && AsyncResource.bind(filter);
    this.#transform = transform && AsyncResource.bind(transform);
    this.#until = until && AsyncResource.bind(until);
    this.#onError = onError;
    this.#context = context;
  }

  /** `null` when there are none: then nobody is asked, and events are written by the batch. */
  static of(request: StreamRequest, context: EventRulesContext): EventRules | null {
    const { filter, transform, until } = request;
    if (filter === undefined && transform === undefined && until === undefined) return null;
    return new EventRules(request, context);
  }

  /** The event as this stream gets it; `null` when it does not, and its channel does not end with it. */
  select(event: InboundEvent): InboundEvent | null {
    // What the application sends to this stream alone it has chosen itself.
    if (!isPublished(event) || event.channel === NO_CHANNEL) return event;
    const own = this.#own(event);
    return own === null && event.ending !== undefined ? silence(event) : own;
  }

  /** Whether the stream ends with this event, given as it was published. */
  isLast(event: InboundEvent): boolean {
    if (this.#until === undefined || !isPublished(event)) return false;
    try {
      return Boolean(atOnce("until", this.#until(seenOf(event))));
    } catch (error) {
      this.#fail("until", error, event);
      return false;
    }
  }

  #own(event: InboundEvent): InboundEvent | null {
    let rule: RuleName = "filter";
    try {
      if (this.#filter !== undefined && !atOnce("filter", this.#filter(seenOf(event)))) return null;
      if (this.#transform === undefined) return event;
      rule = "transform";
      const message = atOnce("transform", this.#transform(seenOf(event)));
      if (message === null) return null;
      if (message === undefined) {
        throw new ConfigError("expected transform() to answer a message, or null for nothing; got undefined");
      }
      return change(event, message, this.#context.settings.maxEventBytes);
    } catch (error) {
      // It may not be for this client's eyes: it is not sent, and that is told.
      this.#fail(rule, error, event);
      return { ...event, ...createGap([event.channel], "invalid", event.channel) };
    }
  }

  #fail(rule: RuleName, error: unknown, event: InboundEvent): void {
    this.#context.onRuleFailure(rule);
    tellFailure(rule, error, event, this.#onError);
  }
}

/** Not what this library says itself, nor an end that says nothing. */
function isPublished(event: InboundEvent): boolean {
  return !isControl(event) && event.frame !== NOTHING;
}

/** A new one for each who is asked: what one does to it is not what another sees. */
function seenOf({ channel, event, data }: InboundEvent): StreamEvent {
  return { channel, event, data };
}

/** An event that the client does not get, in its order among the others: something ends with it. */
export function silence(event: InboundEvent): InboundEvent {
  return { ...event, frame: NOTHING };
}

/** What was made of an event already: streams that make the same of it share the encoded form. */
const variants = new WeakMap<InboundEvent, InboundEvent[]>();

/** Few, as roles are. Where each stream makes something of its own nobody asks for it again, and it would be kept in vain. */
const MAX_VARIANTS = 4;

function change(event: InboundEvent, message: OutboundMessage, maxEventBytes: number): InboundEvent {
  const { event: type, data } = serializeMessage(contentOf(message, event), maxEventBytes);
  if (type === event.event && data === event.data) return event;
  const known = variants.get(event) ?? [];
  const same = known.find((variant) => variant.event === type && variant.data === data);
  if (same !== undefined) return same;
  const variant = { ...event, event: type, data, frame: encodeEvent({ event: type, data }) };
  if (known.push(variant) === 1) variants.set(event, known);
  else if (known.length > MAX_VARIANTS) known.pop();
  return variant;
}

/** A changed event is most easily made from the one that was shown, whose channel is in it. */
function contentOf(message: OutboundMessage, { channel }: InboundEvent): OutboundMessage {
  if (typeof message !== "object") return message;
  const { channel: own, ...content } = message as OutboundMessage & { readonly channel?: unknown };
  return own === channel ? content : message;
}
