import { AsyncResource } from "node:async_hooks";

import { ConfigError } from "../errors.js";
import { atOnce, tellFailure, type OnRuleError, type RuleName } from "../sync-callback.js";
import { encodeEvent, NOTHING } from "../sse/frame.js";
import { isControl, type InboundEvent, type StreamEvent } from "../events/inbound-event.js";
import { createGap } from "../events/gap.js";
import { NO_CHANNEL } from "../events/channel-name.js";
import { serializeMessage, type OutboundMessage } from "../events/outbound-message.js";
import type { StreamRequest } from "./sink.js";

/** The parts of the service that the rules use. */
export interface EventRulesContext {
  readonly settings: { readonly maxEventBytes: number };
  /** Counts a failure of a rule. The gap that the client gets for it is not counted elsewhere. */
  readonly onRuleFailure: (rule: RuleName) => void;
}

/** The rules of one stream: `filter` skips events, `transform` changes them, and `until` finds the last one. */
export class EventRules {
  readonly #filter: StreamRequest["filter"];
  readonly #transform: StreamRequest["transform"];
  readonly #until: StreamRequest["until"];
  readonly #onError: OnRuleError | undefined;
  readonly #context: EventRulesContext;

  private constructor({ filter, transform, until, onError }: StreamRequest, context: EventRulesContext) {
    // Later, events arrive in the asynchronous context of another request, or of the shared connection.
    this.#filter = filter && AsyncResource.bind(filter);
    this.#transform = transform && AsyncResource.bind(transform);
    this.#until = until && AsyncResource.bind(until);
    this.#onError = onError;
    this.#context = context;
  }

  /** Returns `null` if the request has no rules. Then events are written in batches. */
  static of(request: StreamRequest, context: EventRulesContext): EventRules | null {
    const { filter, transform, until } = request;
    if (filter === undefined && transform === undefined && until === undefined) return null;
    return new EventRules(request, context);
  }

  /** Returns the event that this stream gets, or `null` to skip it. The last event of a channel is never `null`. */
  select(event: InboundEvent): InboundEvent | null {
    // The application itself sent this event to this stream.
    if (!isPublished(event) || event.channel === NO_CHANNEL) return event;
    const own = this.#own(event);
    return own === null && event.ending !== undefined ? silence(event) : own;
  }

  /** Whether the stream ends with this event. Takes the published event, before `transform`. */
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
        throw new ConfigError(
          "expected transform() to return a message, or null to skip the event; got undefined",
        );
      }
      return change(event, message, this.#context.settings.maxEventBytes);
    } catch (error) {
      // The client may not be allowed to see the event, so it gets a gap instead.
      this.#fail(rule, error, event);
      return { ...event, ...createGap([event.channel], "invalid", event.channel) };
    }
  }

  #fail(rule: RuleName, error: unknown, event: InboundEvent): void {
    this.#context.onRuleFailure(rule);
    tellFailure(rule, error, event, this.#onError);
  }
}

/** False for control events, and for the end of a channel without an event. */
function isPublished(event: InboundEvent): boolean {
  return !isControl(event) && event.frame !== NOTHING;
}

/** Returns a new object for each call, so that a rule cannot change what another rule gets. */
function seenOf({ channel, event, data }: InboundEvent): StreamEvent {
  return { channel, event, data };
}

/** Returns an event without a frame. The client does not see it, but its channel or the stream ends in the right order. */
export function silence(event: InboundEvent): InboundEvent {
  return { ...event, frame: NOTHING };
}

/** The transformed versions of each event. Streams with the same version share its encoded form. */
const variants = new WeakMap<InboundEvent, InboundEvent[]>();

/** Enough for one version per role of a user. If each stream has a different version, no stream could use a stored one. */
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

/** Removes the channel from a message, because `transform` may return a copy of the event that it got. */
function contentOf(message: OutboundMessage, { channel }: InboundEvent): OutboundMessage {
  if (typeof message !== "object") return message;
  const { channel: own, ...content } = message as OutboundMessage & { readonly channel?: unknown };
  return own === channel ? content : message;
}
