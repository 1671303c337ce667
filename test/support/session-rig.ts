import { BufferBudget } from "../../lib/backpressure/buffer-budget.js";
import { EventBatch } from "../../lib/events/event-batch.js";
import { encodeEvent } from "../../lib/sse/frame.js";
import { IdTokens } from "../../lib/sse/id-token.js";
import type { Ending } from "../../lib/events/inbound-event.js";
import { readLoggedEvent, type InboundEvent } from "../../lib/events/inbound-event.js";
import type { GapReason } from "../../lib/events/gap.js";
import type { SessionContext, SessionSettings } from "../../lib/sessions/session-context.js";
import { PubSubSession } from "../../lib/sessions/session.js";
import type { StreamRequest } from "../../lib/sessions/sink.js";
import { LogHead } from "../../lib/replay/log-head.js";
import type { Transport, TransportListener } from "../../lib/subscriptions/transport.js";
import { lastIdIn } from "./event-reader.js";
import { settle } from "./eventually.js";
import { FakeClock } from "./fake-clock.js";
import { FakeSink } from "./fake-sink.js";
import { EPOCH } from "./inbound-events.js";
import { EMPTY, logState } from "./log-state.js";
import { MemoryLogs } from "./memory-logs.js";
import { sessionContext } from "./session-context.js";

/** Signs the ids of the streams. */
export const SECRET = "the secret of the rig, in 38 characters";

/** The data of an event, or the event with its type. */
export type RigMessage = string | { readonly event?: string | undefined; readonly data: string };

export interface RigStream {
  readonly session: PubSubSession;
  readonly sink: FakeSink;
  /** The Last-Event-ID that an EventSource would send when it reconnects. */
  readonly lastId: string | undefined;
  /** Data of the application's events. */
  readonly data: readonly string[];
  /** The gaps so far, as `reason channel,channel`. */
  readonly gaps: readonly string[];
}

/** How long a check of `revalidate` may take. */
export const RESOLVER_TIMEOUT_MS = 10_000;

/**
 * Sessions over histories in memory and a clock controlled by the test. Channels with the prefix "p" have no history.
 * Redis answers at once, and published events arrive at once.
 */
export class SessionRig {
  readonly clock: FakeClock;
  readonly budget: BufferBudget;
  /** Counted as in `status()`. */
  readonly gaps: Partial<Record<GapReason, number>> = {};
  readonly failedRules: string[] = [];
  /** Errors of `revalidate.check()`. */
  readonly failedChecks: unknown[] = [];
  readonly logs: MemoryLogs = new MemoryLogs((channel) => !channel.startsWith("p"));
  readonly #context: SessionContext<PubSubSession>;
  readonly #transports = new Set<RigTransport>();
  readonly #sessions: PubSubSession[] = [];

  constructor({
    maxTotalBytes = Infinity,
    clock = new FakeClock(),
    ...settings
  }: Partial<SessionSettings> & { maxTotalBytes?: number; clock?: FakeClock } = {}) {
    this.clock = clock;
    this.budget = new BufferBudget(maxTotalBytes);
    this.#context = sessionContext({
      settings: { maxEventBytes: 10_000, maxReplayEvents: 1_000, maxBufferedBytes: 1_000_000, ...settings },
      clock,
      createTransport: (_, listener) => {
        const transport = new RigTransport(listener, () => this.logs.now());
        this.#transports.add(transport);
        return transport;
      },
      history: this.logs,
      onGap: (reason, names) => (this.gaps[reason] = (this.gaps[reason] ?? 0) + names.length),
      onRuleFailure: (rule) => this.failedRules.push(rule),
      revalidation: {
        clock,
        timeoutMs: RESOLVER_TIMEOUT_MS,
        onFailure: (error) => this.failedChecks.push(error),
      },
      budget: this.budget,
      idTokens: new IdTokens([SECRET]),
      assertChannel: () => {},
    });
  }

  async open(request: StreamRequest, ...channels: readonly string[]): Promise<RigStream> {
    const sink = new FakeSink();
    const session = new PubSubSession(this.#context, request, sink, channels);
    this.#sessions.push(session);
    await session.start();
    await settle();
    return streamOf(session, sink);
  }

  /** Delivers one event per message, all in one event-loop turn. */
  publish(channel: string, ...messages: readonly RigMessage[]): void {
    this.#deliver(
      channel,
      messages.map((message) => this.append(channel, message)),
    );
  }

  /** Delivers the last event of a channel. Without data, the event is empty. */
  complete(channel: string, message: RigMessage = ""): void {
    this.#deliver(channel, [this.append(channel, message, "completed")]);
  }

  /** Adds an event to the history without delivering it. */
  append(channel: string, message: RigMessage, ending?: Ending): InboundEvent {
    const { event, data } = typeof message === "string" ? { data: message } : message;
    if (!this.logs.keeps(channel)) return { channel, event, data, frame: encodeEvent({ event, data }) };
    const position = { epoch: EPOCH, offset: this.logs.nextOffset(channel) };
    const envelope = { event, data, position, ...(ending !== undefined && { ending }) };
    return this.logs.add(readLoggedEvent(channel, envelope, this.#context.settings.maxEventBytes));
  }

  /** Reports the state of a history at a time of Redis, as `LogVerifier` does from time to time. */
  lookAt(channel: string, at: number): void {
    const offset = this.logs.nextOffset(channel) - 1;
    const position = offset === 0 ? { ...EMPTY, since: at } : { epoch: EPOCH, offset };
    const state = logState(position, { at, readAt: ++this.logs.reads });
    for (const transport of this.#transports) transport.log(channel).note(state);
  }

  /** Ends all streams. Returns the number of bytes that are still buffered. */
  async close(): Promise<number> {
    for (const session of this.#sessions) void session.close();
    for (let stage = 0; stage < 4; stage++) {
      await settle();
      this.clock.advance(this.#context.settings.closeTimeoutMs);
    }
    return this.budget.bytes;
  }

  #deliver(channel: string, events: readonly InboundEvent[]): void {
    const batch = new EventBatch(channel, events, true);
    for (const transport of this.#transports) transport.deliver(batch);
  }
}

function streamOf(session: PubSubSession, sink: FakeSink): RigStream {
  return {
    session,
    sink,
    get lastId() {
      return lastIdIn(sink.text);
    },
    get data() {
      return sink.events.filter(({ event }) => event === "message").map(({ data }) => data);
    },
    get gaps() {
      return sink.events
        .filter(({ event }) => event === "gap")
        .map(({ data }) => {
          const { reason, channels } = JSON.parse(data) as { reason: string; channels: string[] };
          return `${reason} ${channels.join(",")}`;
        });
    },
  };
}

class RigTransport implements Transport {
  readonly #listener: TransportListener;
  readonly #now: () => number;
  readonly #logs = new Map<string, LogHead>();

  constructor(listener: TransportListener, now: () => number) {
    this.#listener = listener;
    this.#now = now;
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    for (const channel of channels) {
      const tracker = new LogHead();
      this.#logs.set(channel, tracker);
      tracker.established(this.#now());
    }
    await Promise.resolve();
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    for (const channel of channels) this.#logs.delete(channel);
    await Promise.resolve();
  }

  async close(): Promise<void> {}

  reset(): void {
    this.#logs.clear();
  }

  flush(): void {}

  log(channel: string): LogHead {
    return this.#logs.get(channel) ?? new LogHead();
  }

  deliver(batch: EventBatch): void {
    const tracker = this.#logs.get(batch.channel);
    if (tracker === undefined) return;
    for (const event of batch.events) tracker.heard(event, this.#now());
    this.#listener.deliver(batch);
  }
}
