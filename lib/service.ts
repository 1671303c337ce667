import { ConfigError, RedisSseError } from "./errors.js";
import { History } from "./history/history.js";
import { newEpoch, type LogReceipt } from "./history/log-publisher.js";
import type { StreamWriter, WriterOptions } from "./history/stream-writer.js";
import { diagnosticChannel } from "./diagnostics.js";
import { ServiceLog } from "./logger.js";
import { ConnectionMonitor } from "./redis/connection-monitor.js";
import { readTcpTable } from "./peers/proc-net.js";
import { NotificationService } from "./notifications/notification-service.js";
import { readOptions, type RedisSseOptions, type Settings } from "./options.js";
import { assertChannel, parseSelection, type ChannelSelection } from "./events/channel-name.js";
import { encodeEntries, encodeEntry, encodeEventId, tagOf } from "./sse/event-id.js";
import { encodeEnvelope } from "./events/inbound-event.js";
import { readLoggedEvent, type LoggedInboundEvent } from "./events/inbound-event.js";
import { DEFAULT_HEARTBEAT_MS } from "./sse/frame.js";
import { serializeMessage, type OutboundMessage } from "./events/outbound-message.js";
import type { PubSubSession } from "./sessions/session.js";
import type { Sink, StreamRequest } from "./sessions/sink.js";
import { SessionManager } from "./sessions/session-manager.js";
import type { QueueOptions, QueueOptionsWith } from "./queue/queue-options.js";
import type { QueueService } from "./queue/queue-service.js";
import { Queues, type TaskSnapshot } from "./queue/queues.js";
import type { AnyTasks, InputsOf, OutputsOf, SchemaMap, TaskMap } from "./queue/task-map.js";
import { progressChannel } from "./queue/task.js";
import { ConnectionPool } from "./redis/connection-pool.js";
import { createConnectionFactory } from "./redis/connection-factory.js";
import { createInstanceName } from "./redis/connection-name.js";
import { SubscriberConnection } from "./redis/subscriber-connection.js";
import { StatusService, type LocalStatus } from "./status/status-service.js";
import type { StatusOptions, StatusReport } from "./status/status-report.js";
import { withTaskLogs } from "./queue/task-logs.js";
import { assertOptions, readFlag, readMilliseconds } from "./validate.js";

/** What became of a published event. */
export interface PublishReceipt {
  /** The event's place in its channel's history; `null` on a channel without history. */
  readonly id: string | null;
  /** How many Redis connections received it: processes of ours, and whoever else subscribes. */
  readonly receivers: number;
}

/** Options of `publish()`. */
export interface PublishOptions {
  /** False: the event is sent to who listens now, and kept nowhere. Default: as the channel's history is configured. */
  readonly history?: boolean | undefined;
  /** The channel will be completed one day: from now on whoever opens it gets it from its beginning. Default false. */
  readonly finite?: boolean | undefined;
}

/** Options of `drain()`. */
export interface DrainOptions {
  /** By when all streams are closed, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /** Over how long their ends are spread, so that their clients do not return at once. Default half of it. */
  readonly spreadMs?: number | undefined;
}

/** Event streams, notifications and tasks over one Redis. Made by `createRedisSse()`. */
export interface RedisSse {
  /**
   * Publishes one event to every stream of a channel, in all processes. Rejects with `INVALID_CHANNEL`,
   * `INVALID_EVENT`, `UNSERIALIZABLE`, `EVENT_TOO_LARGE`, `CLOSED` or a fault of Redis. An event whose
   * acknowledgement is lost with the connection is sent again and takes effect once, on a channel with a history;
   * on one without it may arrive twice. `COMPLETED`: the channel takes no more.
   */
  publish(channel: string, message: OutboundMessage, options?: PublishOptions): Promise<PublishReceipt>;
  /**
   * The id that a stream of these channels would have now: for a page that is made with its state, and will ask for
   * what comes after it by `lastEventId`. Ask for it before the state is read. `null` where nothing is kept of any of
   * them. Rejects as `publish()`, and with `LIMIT_CHANNELS`.
   */
  lastEventId(channels: ChannelSelection): Promise<string | null>;
  /**
   * Completes a channel, with one last event if there is one: its streams end, after it, as `completed`, and who
   * comes later gets what is held of it from its beginning, and then the end. Rejects as `publish()`, and with
   * `NO_HISTORY` for a channel of which nothing is kept.
   */
  complete(channel: string, message?: OutboundMessage): Promise<PublishReceipt>;
  /**
   * Begins to write a channel as a whole, chunk by chunk. Rejects with `CHANNEL_TAKEN` while somebody else does,
   * `COMPLETED`, `NO_HISTORY`, `INVALID_CHANNEL`, `ABORTED` or a fault of Redis; with `ConfigError` for an option
   * that cannot be.
   */
  writer(channel: string, options?: WriterOptions): Promise<StreamWriter>;
  /**
   * Opens a stream on a sink, subscribed to `channels`, as a resolver answered them. When it cannot, the sink has had its answer, nothing
   * is held any more, and the promise rejects with the fault. A client that leaves meanwhile is no fault:
   * the session is then closing.
   */
  open(request: StreamRequest, sink: Sink, channels: ChannelSelection): Promise<PubSubSession>;
  /**
   * Runs an application's resolver, for an adapter, with the deadline `limits.resolverTimeoutMs`.
   *
   * Resolves to `{ value }` if the resolver answers in time. Resolves to `null` if the deadline passes, the client leaves,
   * or the service drains or closes: the client has its answer then, and a later answer or error of the resolver is
   * ignored. The same applies if the resolver fails in time with a `retryable` error of this library. Rejects with any
   * other error of the resolver.
   */
  resolve<T>(
    request: Omit<StreamRequest, "key">,
    sink: Sink,
    resolver: () => T | PromiseLike<T>,
  ): Promise<{
    /** The answer of the resolver. */
    readonly value: T;
  } | null>;
  /** Whether `open()` would begin a stream now: the fault that it would be refused with, or `null`. */
  check(request: StreamRequest, channels: ChannelSelection): RedisSseError | null;
  /** Writes to the option `logger`, for adapters. */
  readonly log: ServiceLog;
  /** The Redis connections of this service, for leases of your own. */
  readonly pool: ConnectionPool;
  /** Notifications that are stored for each user, and streamed to open pages. */
  readonly notifications: NotificationService;
  /**
   * The queue of that name, 1 to 64 characters of A-Z a-z 0-9 _ . -; one object for each name. Default "default". `schemas`
   * say what each kind of task carries, or `Tasks`: `sse.queue<{ resize: { file: string } }>("media")`. Options that
   * are given again have to be the same. Throws `ConfigError` or `CLOSED`.
   */
  queue<Schemas extends SchemaMap>(
    name: string,
    options: QueueOptionsWith<Schemas>,
  ): QueueService<OutputsOf<Schemas>, InputsOf<Schemas>>;
  /** The queue of that name. `Tasks` says what each kind of task carries. Default: any kind and any payload. */
  queue<Tasks extends TaskMap = AnyTasks>(name?: string, options?: QueueOptions<Tasks>): QueueService<Tasks>;
  /**
   * A task as it stands, whatever its queue, and how many events its channel has had by then; `null` when there is none
   * of that id. Rejects with `INVALID_TASK` or a fault of Redis.
   */
  task(id: string): Promise<TaskSnapshot | null>;
  /**
   * The service's state, and what Redis says of it. Never rejects for a fault of Redis. Those who ask at once share
   * one look for drift.
   */
  status(options?: StatusOptions): Promise<StatusReport>;
  /** Refuses new streams and ends the open ones, spread over time. Everything else goes on. */
  drain(options?: DrainOptions): Promise<void>;
  /** Ends streams, workers and connections, in this order; the process can then exit. Never rejects. */
  close(): Promise<void>;
  /** For `await using`: as `close()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

const PUBLISH_OPTIONS: ReadonlySet<string> = new Set<keyof PublishOptions>(["history", "finite"]);
const DRAIN_OPTIONS: ReadonlySet<string> = new Set<keyof DrainOptions>(["timeoutMs", "spreadMs"]);

/** Creates a service. Nothing connects before it is used. Throws `ConfigError` for an option that cannot be. */
export function createRedisSse(options?: RedisSseOptions): RedisSse {
  return new RedisSseService(readOptions(options));
}

const published = diagnosticChannel("redis-sse:publish");

/** The composition root: the one place that knows every part, and hands each what it needs of the others. */
class RedisSseService implements RedisSse {
  readonly log: ServiceLog;
  readonly pool: ConnectionPool;
  readonly notifications: NotificationService;
  readonly #instance = createInstanceName();
  readonly #settings: Settings;
  readonly #streams: SessionManager;
  readonly #history: History<LoggedInboundEvent>;
  readonly #status: StatusService;
  readonly #queues: Queues;
  readonly #closing = new AbortController();
  #closed: Promise<void> | null = null;

  constructor(settings: Settings) {
    const { clock, limits, keyPrefix } = settings;
    // Without heartbeats to clients, dead connections to Redis are still found.
    const pingMs = settings.heartbeatMs || DEFAULT_HEARTBEAT_MS;
    this.log = new ServiceLog(settings.logger, clock);
    const monitor = new ConnectionMonitor(this.log, clock);
    const connect = createConnectionFactory(settings.redis, this.#instance, monitor);
    const commands = (): ConnectionPool["commands"] => this.pool.commands;
    this.#settings = settings;
    this.pool = new ConnectionPool(connect, { ...settings.pool, pingMs }, clock, this.log);
    this.#history = new History({
      commands,
      keyPrefix,
      policy: settings.history.policy,
      clock,
      limits,
      encodeEnvelope,
      toEvent: (channel, position, entry) =>
        readLoggedEvent(channel, { position, ...entry }, limits.maxEventBytes),
      serialize: (message) => serializeMessage(message, limits.maxEventBytes),
      sizeOf: ({ data, frame }) => data.length + 2 * frame.length + 400,
    });
    this.#queues = new Queues({
      commands,
      subscribe: (channel, onMessage) => this.#streams.subscribe(channel, onMessage),
      publish: (channel, data) => this.#publishProgress(channel, data),
      newEpoch,
      keyPrefix,
      clock,
      log: this.log,
      maxBytes: limits.maxEventBytes,
      // One rule for the channels of all tasks: a script that takes some does not know yet which.
      keepEvents: settings.history.policy(progressChannel("any")) === null ? null : limits.maxReplayEvents,
    });
    this.#streams = new SessionManager({
      settings: {
        ...settings,
        limits: { ...limits, subscribeTimeoutMs: subscribeTimeoutOf(settings) },
      },
      clock,
      log: this.log,
      history: withTaskLogs(this.#history.reader, (id) => this.#queues.watch(id)),
      connect: (handlers) => new SubscriberConnection(this.pool.subscriber, clock, pingMs, handlers),
      lease: (holder, signal) => this.pool.lease({ holder, signal }),
      explain: (fault) => (fault.code === "TIMEOUT" ? (this.pool.subscriberFault ?? fault) : fault),
      readTcpTable,
    });
    this.notifications = new NotificationService({
      commands,
      publish: (channel, data) => this.#history.publish(channel, { event: undefined, data }),
      keyPrefix,
      clock,
      log: this.log,
      maxBytes: limits.maxEventBytes,
    });
    this.#status = new StatusService({
      commands,
      clock,
      instance: this.#instance,
      signal: this.#closing.signal,
      local: () => this.#localStatus(),
      countTasks: () => this.#queues.counts(),
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
    assertOptions("publish()", options, PUBLISH_OPTIONS);
    readFlag("history", options.history);
    readFlag("finite", options.finite);
    const serialized = serializeMessage(message, this.#settings.limits.maxEventBytes);
    const { history, finite } = options;
    const kept = { ...(history !== undefined && { history }), ...(finite !== undefined && { finite }) };
    const receipt = toReceipt(channel, await this.#history.publish(channel, serialized, kept));
    if (published.hasSubscribers) {
      published.publish({ channel, event: serialized.event, length: serialized.data.length, ...receipt });
    }
    return receipt;
  }

  async lastEventId(channels: ChannelSelection): Promise<string | null> {
    const { keyPrefix, limits } = this.#settings;
    const names = parseSelection(channels, keyPrefix);
    if (names.length > limits.maxChannelsPerSession) {
      throw new RedisSseError(
        "LIMIT_CHANNELS",
        `expected at most ${limits.maxChannelsPerSession} channels, got ${names.length}`,
      );
    }
    const positions = await this.#history.positions(names);
    if (positions.length === 0) return null;
    return encodeEventId(positions.map(({ channel, ...position }) => ({ tag: tagOf(channel), ...position })));
  }

  async complete(channel: string, message?: OutboundMessage): Promise<PublishReceipt> {
    assertChannel(channel, this.#settings.keyPrefix);
    const { maxEventBytes } = this.#settings.limits;
    const last = message === undefined ? undefined : serializeMessage(message, maxEventBytes);
    return toReceipt(channel, await this.#history.complete(channel, last));
  }

  async writer(channel: string, options: WriterOptions = {}): Promise<StreamWriter> {
    assertChannel(channel, this.#settings.keyPrefix);
    return this.#history.openWriter(channel, options);
  }

  resolve<T>(
    request: Omit<StreamRequest, "key">,
    sink: Sink,
    resolver: () => T | PromiseLike<T>,
  ): Promise<{ readonly value: T } | null> {
    return this.#streams.resolve(request, sink, resolver);
  }

  check(request: StreamRequest, channels: ChannelSelection): RedisSseError | null {
    return this.#streams.check(request, channels);
  }

  open(request: StreamRequest, sink: Sink, channels: ChannelSelection): Promise<PubSubSession> {
    return this.#streams.open(request, sink, channels);
  }

  // What a queue's tasks carry is a matter of types alone.
  queue<Schemas extends SchemaMap>(
    name: string,
    options: QueueOptionsWith<Schemas>,
  ): QueueService<OutputsOf<Schemas>, InputsOf<Schemas>>;
  queue<Tasks extends TaskMap = AnyTasks>(name?: string, options?: QueueOptions<Tasks>): QueueService<Tasks>;
  queue(name = "default", options?: QueueOptions<never>): unknown {
    if (this.#closed !== null) throw new RedisSseError("CLOSED", "this service is closed");
    return this.#queues.get(name, options);
  }

  task(id: string): Promise<TaskSnapshot | null> {
    return this.#queues.find(id);
  }

  status(options?: StatusOptions): Promise<StatusReport> {
    return this.#status.report(options);
  }

  async drain(options: DrainOptions = {}): Promise<void> {
    assertOptions("drain()", options, DRAIN_OPTIONS);
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
      let onClosed!: () => void;
      this.#closed = new Promise((resolve) => (onClosed = resolve));
      this.#close().then(onClosed, onClosed);
    }
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.#streams.closeAll(), this.#queues.close()]);
    await Promise.all([this.#streams.close(), this.#history.close()]);
    await this.pool.close();
    this.log.info("closed");
  }

  /** Of work that is in no queue. */
  async #publishProgress(channel: string, data: string): Promise<void> {
    await this.#history.publish(channel, { event: undefined, data }, { finite: true });
  }

  #localStatus(): LocalStatus {
    return {
      instance: this.#instance,
      state: this.#closed !== null ? "closed" : this.#streams.refusing ? "draining" : "open",
      subscriptions: this.#settings.subscriptions,
      pool: this.pool.statistics,
      hub: this.#streams.hubStatistics,
      sessions: this.#streams.statistics,
      history: { ...this.#history.reader.statistics, gaps: this.#streams.gaps },
      buffers: this.#streams.buffers,
      rules: { failed: this.#streams.ruleFailures },
      notifications: this.notifications.statistics,
      channels: this.#streams.channels,
      queues: this.#queues.statistics,
    };
  }
}

function toReceipt(channel: string, { position, receivers }: LogReceipt): PublishReceipt {
  return { id: position && encodeEntries(encodeEntry({ tag: tagOf(channel), ...position })), receivers };
}

/** In dedicated mode a subscription begins with a lease, which has a deadline of its own. */
function subscribeTimeoutOf({ subscriptions, limits, pool }: Settings): number {
  return limits.subscribeTimeoutMs + (subscriptions === "dedicated" ? pool.acquireTimeoutMs : 0);
}
