import { DedicatedTransport } from "../../lib/subscriptions/dedicated-transport.js";
import { readInboundEvent } from "../../lib/events/inbound-event.js";
import { Slices } from "../../lib/slices.js";
import type { SessionContext } from "../../lib/sessions/session-context.js";
import { PubSubSession } from "../../lib/sessions/session.js";
import type { StreamRequest } from "../../lib/sessions/sink.js";
import { SubscriptionHub } from "../../lib/subscriptions/subscription-hub.js";
import type { Transport } from "../../lib/subscriptions/transport.js";
import { settle } from "./eventually.js";
import { FakeClock } from "./fake-clock.js";
import { FakeSink } from "./fake-sink.js";
import { loggedMessage, type LoggedOptions } from "./inbound-events.js";
import { MemoryLogs } from "./memory-logs.js";
import { ScriptedHubConnection, ScriptedPool, ScriptedRedis } from "./scripted-redis.js";
import { sessionContext } from "./session-context.js";
import type { Subscriptions } from "./stream-harness.js";

export const LINGER_MS = 500;

const MAX_EVENT_BYTES = 1_000_000;

export interface TurnStream {
  readonly session: PubSubSession;
  readonly sink: FakeSink;
  readonly started: Promise<void>;
}

/** The data of an event of the application. */
export function dataOf({ sink }: TurnStream): readonly string[] {
  return sink.events.filter(({ event }) => event === "message").map(({ data }) => data);
}

/**
 * Sessions over a scripted Redis. The test decides which messages arrive within one event-loop turn. Channels with
 * the prefix "log" have a history.
 */
export class TurnRig {
  readonly redis: ScriptedRedis = new ScriptedRedis();
  readonly clock: FakeClock = new FakeClock();
  readonly hub: SubscriptionHub;
  readonly logs: MemoryLogs = new MemoryLogs((name) => name.startsWith("log"));
  readonly streams: TurnStream[] = [];
  /** The counted gaps: the reason and the channels. */
  readonly gaps: (readonly string[])[] = [];
  readonly #pool = new ScriptedPool(this.redis);
  readonly #context: SessionContext<PubSubSession>;
  readonly #transports = new Set<Transport>();
  readonly #slices: Slices;

  constructor(subscriptions: Subscriptions, slices: Slices = new Slices(new FakeClock())) {
    this.#slices = slices;
    const read = (name: string, message: string) => readInboundEvent(name, message, MAX_EVENT_BYTES);
    const now = (): number => this.logs.now();
    this.hub = new SubscriptionHub({
      connect: (handlers) => new ScriptedHubConnection(this.redis, handlers),
      read,
      now,
      clock: this.clock,
      slices,
      lingerMs: LINGER_MS,
      closeTimeoutMs: 1_000,
    });
    this.#context = sessionContext({
      slices,
      settings: { maxChannelsPerSession: 5 },
      clock: this.clock,
      createTransport: (_, listener) => {
        const transport =
          subscriptions === "shared"
            ? this.hub.transport(listener)
            : new DedicatedTransport({ lease: (signal) => this.#pool.lease(signal), read, now }, listener);
        this.#transports.add(transport);
        return transport;
      },
      history: this.logs,
      onGap: (reason, names) => this.gaps.push([reason, ...names]),
    });
  }

  /** Opens a stream. Redis has not acknowledged it yet. */
  open(channels: readonly string[], request: StreamRequest = {}): TurnStream {
    const sink = new FakeSink();
    const session = new PubSubSession(this.#context, request, sink, channels);
    const stream = { session, sink, started: session.start().catch(() => {}) };
    this.streams.push(stream);
    return stream;
  }

  /** Opens a stream and makes it live. */
  async live(channels: readonly string[], request: StreamRequest = {}): Promise<TurnStream> {
    const stream = this.open(channels, request);
    await this.quiet();
    await stream.started;
    return stream;
  }

  /** Delivers plain messages in this turn. */
  say(channel: string, ...messages: readonly string[]): void {
    for (const message of messages) this.redis.publish(channel, message);
  }

  /** Appends the next event to a history and delivers it in this turn. */
  log(channel: string, options: LoggedOptions = {}): void {
    this.hear(channel, this.logs.append(channel, options).position.offset, options);
  }

  /** Delivers an event of a history, even if the history does not contain it. */
  hear(channel: string, offset: number, options: LoggedOptions = {}): void {
    this.redis.publish(channel, loggedMessage(channel, offset, options));
  }

  /** Ends the turn, so that later messages are in another turn. */
  flush(): void {
    this.hub.flush();
    for (const transport of this.#transports) transport.flush();
  }

  /** Answers all operations, also operations that follow from the answers. */
  async quiet(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await settle(2);
      quiet = this.redis.answerOne() || this.#slices.isBusy ? 0 : quiet + 1;
    }
  }

  /** Ends all streams. */
  async close(): Promise<void> {
    this.redis.returns();
    const closed = this.streams.map(({ session }) => session.close());
    closed.push(this.hub.close());
    await this.quiet();
    this.clock.advance(10_000);
    await this.quiet();
    await Promise.all(closed);
  }
}
