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

/** One event's data, without what the library says itself. */
export function dataOf({ sink }: TurnStream): readonly string[] {
  return sink.events.filter(({ event }) => event === "message").map(({ data }) => data);
}

/**
 * Sessions over a Redis that acts only when it is told to, so that a test says which messages come within one turn of
 * the loop. Channels whose names begin with "log" have a history.
 */
export class TurnRig {
  readonly redis: ScriptedRedis = new ScriptedRedis();
  readonly clock: FakeClock = new FakeClock();
  readonly hub: SubscriptionHub;
  readonly logs: MemoryLogs = new MemoryLogs((name) => name.startsWith("log"));
  readonly streams: TurnStream[] = [];
  /** What clients were told that they do not get, as it is counted: the reason, and the channels. */
  readonly gaps: (readonly string[])[] = [];
  readonly #pool = new ScriptedPool(this.redis);
  readonly #context: SessionContext<PubSubSession>;
  readonly #transports = new Set<Transport>();

  constructor(subscriptions: Subscriptions) {
    const read = (name: string, message: string) => readInboundEvent(name, message, MAX_EVENT_BYTES);
    const now = (): number => this.logs.now();
    this.hub = new SubscriptionHub({
      connect: (handlers) => new ScriptedHubConnection(this.redis, handlers),
      read,
      now,
      clock: this.clock,
      slices: new Slices(this.clock),
      lingerMs: LINGER_MS,
      closeTimeoutMs: 1_000,
    });
    this.#context = sessionContext({
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

  /** Opens a stream, which still has to be acknowledged. */
  open(channels: readonly string[], request: StreamRequest = {}): TurnStream {
    const sink = new FakeSink();
    const session = new PubSubSession(this.#context, request, sink, channels);
    const stream = { session, sink, started: session.start().catch(() => {}) };
    this.streams.push(stream);
    return stream;
  }

  /** Opens a stream, and has it live. */
  async live(channels: readonly string[], request: StreamRequest = {}): Promise<TurnStream> {
    const stream = this.open(channels, request);
    await this.quiet();
    await stream.started;
    return stream;
  }

  /** Plain messages come, in this turn. */
  say(channel: string, ...messages: readonly string[]): void {
    for (const message of messages) this.redis.publish(channel, message);
  }

  /** The next event of a log comes, in this turn; it is appended there as well. */
  log(channel: string, options: LoggedOptions = {}): void {
    this.hear(channel, this.logs.append(channel, options).position.offset, options);
  }

  /** An event of a log comes, whether or not it is there. */
  hear(channel: string, offset: number, options: LoggedOptions = {}): void {
    this.redis.publish(channel, loggedMessage(channel, offset, options));
  }

  /** Passes on what has come: no message shares a turn with another. */
  flush(): void {
    this.hub.flush();
    for (const transport of this.#transports) transport.flush();
  }

  /** Everything that was asked has its answer, and what follows from that as well. */
  async quiet(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await settle(2);
      quiet = this.redis.answerOne() ? 0 : quiet + 1;
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
