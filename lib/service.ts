import { ConfigError, RedisSseError } from "./errors.js";
import { LogPublisher } from "./history/log-publisher.js";
import { LogReader } from "./history/log-reader.js";
import { createLog } from "./log.js";
import { NotificationService } from "./notifications/notification-service.js";
import { readOptions, type RedisSseOptions, type Settings } from "./options.js";
import { assertChannel, type ChannelSelection } from "./pubsub/channel.js";
import { encodeCursor, tagOf } from "./pubsub/cursor.js";
import { encodeEnvelope } from "./pubsub/envelope.js";
import { readLoggedEvent, type LoggedInboundEvent } from "./pubsub/inbound-event.js";
import { serializeMessage, type OutboundMessage } from "./pubsub/outbound-message.js";
import type { PubSubSession } from "./pubsub/session.js";
import type { Sink, StreamRequest } from "./pubsub/sink.js";
import { Streams } from "./pubsub/streams.js";
import { QueueService, type QueueOptions } from "./queue/queue-service.js";
import { ClientPool } from "./redis/client-pool.js";
import { createConnectionFactory } from "./redis/connection-factory.js";
import { createInstanceName } from "./redis/connection-name.js";
import { SubscriberConnection } from "./redis/subscriber-connection.js";
import { StatusService, type LocalStatus } from "./status/status-service.js";
import type { StatusOptions, StatusReport } from "./status/status-report.js";
import { assertKnown, assertObject, readMilliseconds } from "./validate.js";

/** What became of a published event. */
export interface PublishReceipt {
  /** The event's place in its channel's history; `null` on a channel without history. */
  readonly id: string | null;
  /** How many Redis connections received it: processes of ours, and whoever else subscribes. */
  readonly receivers: number;
}

export interface PublishOptions {
  /** Whether the event is kept for clients that come back. Default: as the channel's history is configured. */
  readonly history?: boolean;
}

export interface DrainOptions {
  /** By when all streams are closed, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  /** Over how long their ends are spread, so that their clients do not return at once. Default half of it. */
  readonly spreadMs?: number;
}

/** Event streams, notifications and tasks over one Redis. Made by `createRedisSse()`. */
export interface RedisSse {
  /**
   * Publishes one event to every stream of a channel, in all processes. Rejects with `INVALID_CHANNEL`,
   * `INVALID_EVENT`, `UNSERIALIZABLE`, `EVENT_TOO_LARGE`, `CLOSED` or a fault of Redis. An event whose
   * acknowledgement is lost with the connection is published again, and may arrive twice.
   */
  publish(channel: string, message: OutboundMessage, options?: PublishOptions): Promise<PublishReceipt>;
  /**
   * Opens a stream on a sink, subscribed to `channels`, as a resolver answered them. When it cannot, the sink has had its answer, nothing
   * is held any more, and the promise rejects with the fault. A client that leaves meanwhile is no fault:
   * the session is then closing.
   */
  open(request: StreamRequest, sink: Sink, channels: ChannelSelection): Promise<PubSubSession>;
  /** Whether `open()` would begin a stream now: the fault that it would be refused with, or `null`. */
  check(request: StreamRequest, channels: ChannelSelection): RedisSseError | null;
  readonly pool: ClientPool;
  readonly notifications: NotificationService;
  /** The queue of that name; one object for each name. Default "default". */
  queue(name?: string, options?: QueueOptions): QueueService;
  /**
   * The service's state, and what Redis says of it. Never rejects for a fault of Redis. Those who ask at once share
   * one look for drift.
   */
  status(options?: StatusOptions): Promise<StatusReport>;
  /** Refuses new streams and ends the open ones, spread over time. Everything else goes on. */
  drain(options?: DrainOptions): Promise<void>;
  /** Ends streams, workers and connections, in this order; the process can then exit. Never rejects. */
  close(): Promise<void>;
}

const log = createLog("service");

/** The most of a log that is read at once. */
const MAX_PAGE_BYTES = 128 * 1024;

const PUBLISH_OPTIONS: ReadonlySet<string> = new Set<keyof PublishOptions>(["history"]);
const DRAIN_OPTIONS: ReadonlySet<string> = new Set<keyof DrainOptions>(["timeoutMs", "spreadMs"]);

/** Creates a service. Nothing connects before it is used. Throws `ConfigError` for an option that cannot be. */
export function createRedisSse(options?: RedisSseOptions): RedisSse {
  return new RedisSseService(readOptions(options));
}

/** The composition root: the one place that knows every part, and hands each what it needs of the others. */
class RedisSseService implements RedisSse {
  readonly pool: ClientPool;
  readonly notifications: NotificationService;
  readonly #instance = createInstanceName();
  readonly #settings: Settings;
  readonly #streams: Streams;
  readonly #publisher: LogPublisher;
  readonly #reader: LogReader<LoggedInboundEvent>;
  readonly #status: StatusService;
  readonly #queues = new Map<string, QueueService>();
  readonly #closing = new AbortController();
  #closed: Promise<void> | null = null;

  constructor(settings: Settings) {
    const { clock, limits, keyPrefix, heartbeatMs } = settings;
    const connect = createConnectionFactory(settings.redis, this.#instance);
    const commands = (): ClientPool["commands"] => this.pool.commands;
    this.#settings = settings;
    this.pool = new ClientPool(connect, { ...settings.pool, pingMs: heartbeatMs }, clock);
    const logs = { commands, keyPrefix, policy: settings.history };
    this.#publisher = new LogPublisher({ ...logs, encodeEnvelope });
    this.#reader = new LogReader({
      ...logs,
      clock,
      maxPageBytes: Math.min(MAX_PAGE_BYTES, limits.maxBufferedBytes / 4),
      toEvent: (channel, position, { event, data, ending }) =>
        readLoggedEvent(
          channel,
          { position, event: event === "" ? undefined : event, data, ...(ending !== "" && { ending }) },
          limits.maxEventBytes,
        ),
      sizeOf: ({ data, frame }) => data.length + 2 * frame.length,
    });
    this.#streams = new Streams({
      settings: {
        ...settings,
        limits: { ...limits, subscribeTimeoutMs: subscribeTimeoutOf(settings) },
      },
      clock,
      history: this.#reader,
      connect: (handlers) => new SubscriberConnection(this.pool.subscriber, clock, heartbeatMs, handlers),
      lease: (holder, signal) => this.pool.lease({ holder, signal }),
      explain: (fault) => (fault.code === "TIMEOUT" ? (this.pool.subscriberFault ?? fault) : fault),
    });
    this.notifications = new NotificationService({
      commands,
      keyPrefix,
      clock,
      maxBytes: limits.maxEventBytes,
    });
    this.#status = new StatusService({
      commands,
      clock,
      instance: this.#instance,
      signal: this.#closing.signal,
      local: () => this.#localStatus(),
      look: () => ({
        connections: this.pool.census,
        subscriptions: this.#streams.account,
        channels: this.#streams.heardChannels,
      }),
    });
  }

  async publish(
    channel: string,
    message: OutboundMessage,
    options: PublishOptions = {},
  ): Promise<PublishReceipt> {
    assertChannel(channel, this.#settings.keyPrefix);
    assertObject("publish()", options);
    assertKnown("publish()", options, PUBLISH_OPTIONS);
    const serialized = serializeMessage(message, this.#settings.limits.maxEventBytes);
    const { position, receivers } = await this.#publisher.publish(channel, serialized, options);
    return { id: position && encodeCursor([{ tag: tagOf(channel), ...position }]), receivers };
  }

  check(request: StreamRequest, channels: ChannelSelection): RedisSseError | null {
    return this.#streams.check(request, channels);
  }

  open(request: StreamRequest, sink: Sink, channels: ChannelSelection): Promise<PubSubSession> {
    return this.#streams.open(request, sink, channels);
  }

  queue(name = "default", options?: QueueOptions): QueueService {
    if (this.#closed !== null) throw new RedisSseError("CLOSED", "this service is closed");
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new QueueService(name, options, {
        commands: () => this.pool.commands,
        subscribe: (channel, onMessage) => this.#streams.subscribe(channel, onMessage),
        keyPrefix: this.#settings.keyPrefix,
        clock: this.#settings.clock,
        maxBytes: this.#settings.limits.maxEventBytes,
      });
      this.#queues.set(name, queue);
    } else if (options !== undefined) {
      throw new ConfigError(`expected the options of queue "${name}" with its first use only`);
    }
    return queue;
  }

  status(options?: StatusOptions): Promise<StatusReport> {
    return this.#status.report(options);
  }

  async drain(options: DrainOptions = {}): Promise<void> {
    assertObject("drain()", options);
    assertKnown("drain()", options, DRAIN_OPTIONS);
    const { timeoutMs = 10_000, spreadMs = timeoutMs / 2 } = options;
    readMilliseconds("timeoutMs", timeoutMs, 0);
    if (!(spreadMs >= 0 && spreadMs <= timeoutMs)) {
      throw new ConfigError("expected spreadMs as a number of milliseconds from 0 to timeoutMs");
    }
    await this.#streams.drain(timeoutMs, spreadMs);
  }

  close(): Promise<void> {
    if (this.#closed === null) {
      // There before its effects: one of them may call this again.
      let settle!: () => void;
      this.#closed = new Promise((resolve) => (settle = resolve));
      this.#close().then(settle, settle);
    }
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([
      this.#streams.closeAll(),
      ...Array.from(this.#queues.values(), (queue) => queue.close()),
    ]);
    await this.#streams.close();
    this.#reader.close();
    await this.pool.close();
    log("closed");
  }

  #localStatus(): LocalStatus {
    return {
      instance: this.#instance,
      state: this.#closed !== null ? "closed" : this.#streams.refusing ? "draining" : "open",
      subscriptions: this.#settings.subscriptions,
      pool: this.pool.statistics,
      hub: this.#streams.hubStatistics,
      sessions: this.#streams.statistics,
      channels: this.#streams.channels,
    };
  }
}

/** In dedicated mode a subscription begins with a lease, which has a deadline of its own. */
function subscribeTimeoutOf({ subscriptions, limits, pool }: Settings): number {
  return limits.subscribeTimeoutMs + (subscriptions === "dedicated" ? pool.acquireTimeoutMs : 0);
}
