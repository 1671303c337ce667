import { RedisSseError } from "./errors.js";
import { History } from "./history/history.js";
import { newEpoch, type LogReceipt } from "./history/log-publisher.js";
import type { StreamWriter, WriterOptions } from "./history/stream-writer.js";
import { diagnosticChannel } from "./catalogue/diagnostics.js";
import { ServiceLog } from "./logger.js";
import { ConnectionMonitor } from "./redis/connection-monitor.js";
import { readTcpTable } from "./peers/proc-net.js";
import { NotificationService } from "./notifications/notification-service.js";
import { readOptions, type RedisSseOptions, type Settings } from "./options.js";
import {
  assertChannel,
  parseSelection,
  parseStreamSelection,
  type ChannelSelection,
} from "./events/channel-name.js";
import { encodeEntries, encodeEntry, encodeEventId, tagOf } from "./sse/event-id.js";
import { encodeEnvelope } from "./events/inbound-event.js";
import { readLoggedEvent, type LoggedInboundEvent } from "./events/inbound-event.js";
import { DEFAULT_HEARTBEAT_MS } from "./sse/frame.js";
import { IdTokens } from "./sse/id-token.js";
import { serializeMessage, type OutboundMessage } from "./events/outbound-message.js";
import { readRevocation, type RevocationTarget, type RevokeOptions } from "./rights/revocation.js";
import { RevocationStore } from "./rights/revocation-store.js";
import { Revocations } from "./rights/revocations.js";
import type { PubSubSession } from "./sessions/session.js";
import type { Sink, StreamRequest } from "./sessions/sink.js";
import type { AccessAnswer } from "./sessions/stream-access.js";
import { SessionManager } from "./sessions/session-manager.js";
import { readKey } from "./sessions/stream-options.js";
import type { QueueOptions, QueueOptionsWith } from "./queue/queue-options.js";
import type { QueueService } from "./queue/queue-service.js";
import { Queues, type TaskSnapshot } from "./queue/queues.js";
import type { AnyTasks, InputsOf, OutputsOf, SchemaMap, TaskMap } from "./queue/task-map.js";
import { progressChannel } from "./queue/task.js";
import { ConnectionPool } from "./redis/connection-pool.js";
import { createConnectionFactory } from "./redis/connection-factory.js";
import { createInstanceName } from "./redis/connection-name.js";
import { SubscriberConnection } from "./redis/subscriber-connection.js";
import { Slices } from "./slices.js";
import { StatusService, type LocalStatus } from "./status/status-service.js";
import type { StatusOptions, StatusReport } from "./status/status-report.js";
import { withTaskLogs } from "./queue/task-logs.js";
import { assertOptions, optionError, readFlag, readMilliseconds, readWholeNumber } from "./validate.js";
import { TicketService } from "./tickets/ticket-service.js";

/** The result of `publish()` and `complete()`. */
export interface PublishReceipt {
  /** The id of the event for `lastEventId`. `null` if the channel has no history. */
  readonly id: string | null;
  /** How many Redis connections received the event: one for each process with streams, and other subscribers. */
  readonly receivers: number;
}

/** Options of `publish()`. */
export interface PublishOptions {
  /**
   * `false`: only clients that are connected now get the event. Redis does not keep it.
   *
   * @defaultValue the history option of the channel
   */
  readonly history?: boolean | undefined;
  /**
   * `true`: the channel will end with `complete()`. From now on, each new client gets the channel from its first event.
   *
   * @defaultValue false
   */
  readonly finite?: boolean | undefined;
}

/** Options of `drain()`. */
export interface DrainOptions {
  /**
   * Milliseconds after which all streams are closed.
   *
   * @defaultValue 10_000
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Milliseconds over which the ends of the streams are spread, so that clients do not all reconnect at the same time.
   *
   * @defaultValue half of `timeoutMs`
   */
  readonly spreadMs?: number | undefined;
  /**
   * Called when `check()` returns `CLOSED` and new streams are refused, before the first stream ends. The drain waits for its
   * promise, as a part of `timeoutMs`.
   *
   * With it, an app can wait until its load balancer has noticed that the process takes no new streams. If it throws or rejects,
   * or takes too long, the `logger` gets an error, and the drain continues.
   *
   * @example beforeStreamsEnd: () => setTimeout(5_000) // of node:timers/promises
   * @defaultValue the streams begin to end at once
   */
  readonly beforeStreamsEnd?: (() => void | Promise<void>) | undefined;
}

/** Event streams, notifications and tasks over one Redis. `createRedisSse()` creates it. */
export interface RedisSse {
  /**
   * Publishes one event to every stream of a channel, in all processes.
   *
   * If the connection breaks before Redis acknowledges the event, the service sends it again. On a channel with history it
   * takes effect once. On a channel without history it may arrive twice.
   *
   * Rejects with `INVALID_CHANNEL`, `INVALID_EVENT`, `UNSERIALIZABLE`, `EVENT_TOO_LARGE`, `COMPLETED`, `CHANNEL_TAKEN`,
   * `CLOSED` or an error of Redis.
   */
  publish(channel: string, message: OutboundMessage, options?: PublishOptions): Promise<PublishReceipt>;
  /**
   * Returns the id of the newest event of these channels. Call it before you read the state of a page, and open the stream
   * of the page with `?lastEventId=`. `null` if none of the channels has history.
   *
   * Rejects like `publish()`, and with `LIMIT_CHANNELS`.
   */
  lastEventId(channels: ChannelSelection): Promise<string | null>;
  /**
   * Completes a channel, after an optional last event. Its streams end with `completed`. Later clients get the channel from
   * its first event that is kept, and then the end.
   *
   * Rejects like `publish()`, and with `NO_HISTORY` if the channel has no history.
   */
  complete(channel: string, message?: OutboundMessage): Promise<PublishReceipt>;
  /**
   * Creates a writer that writes text to a channel chunk by chunk, for example the tokens of a language model. Only this
   * writer can write to the channel until it ends.
   *
   * Rejects with `CHANNEL_TAKEN` if the channel has another writer, and with `COMPLETED`, `NO_HISTORY`, `INVALID_CHANNEL`,
   * `ABORTED`, `CONFIG` or an error of Redis.
   */
  writer(channel: string, options?: WriterOptions): Promise<StreamWriter>;
  /**
   * Opens a stream on a sink, for an adapter. `answer` is the answer of a resolver.
   *
   * If the stream is refused, the sink gets the answer, everything is released, and the promise rejects with the error. If
   * an event of `first` is invalid, the promise rejects before anything is subscribed, and the sink gets no answer. If the
   * client leaves before the stream is open, the promise resolves, and the state of the session is `closing`.
   */
  open(request: StreamRequest, sink: Sink, answer: AccessAnswer): Promise<PubSubSession>;
  /**
   * Runs an application's resolver, for an adapter, with the deadline `limits.resolverTimeoutMs`.
   *
   * Resolves to `{ value }` if the resolver answers in time. Resolves to `null` if the deadline passes, the client leaves,
   * or the service drains or closes. Then the client has its answer, and a later answer or error of the resolver is
   * ignored. The same applies if the resolver fails in time with a `retryable` error of this library, or with
   * `TICKET_INVALID`. Rejects with any other error of the resolver.
   */
  resolve<T>(
    request: Omit<StreamRequest, "key" | "revalidate">,
    sink: Sink,
    resolver: () => T | PromiseLike<T>,
  ): Promise<{
    /** The answer of the resolver. */
    readonly value: T;
  } | null>;
  /**
   * Returns the error with which this process refuses every new stream now, or `null`, for a readiness probe: `CLOSED` if the service
   * drains or is closed, and `LIMIT_SESSIONS` if `limits.maxSessions` is reached. It does not ask Redis.
   *
   * @example app.get("/ready", (req, res) => res.sendStatus(sse.check() === null ? 200 : 503));
   */
  check(): RedisSseError | null;
  /** Returns the error that `open()` would refuse this stream with now, or `null`. */
  check(request: StreamRequest, answer: AccessAnswer): RedisSseError | null;
  /**
   * Ends the matching streams in all processes, for example when a user logs out. Resolves to the number of ended streams.
   *
   * The streams end with reason `revoked`. Their clients reconnect, and the resolver runs again. So first change the data that
   * the resolver checks, then call `revoke()`. With `forMs`, new streams of the key are also refused with 403 `REVOKED`.
   *
   * - A process that is connected to Redis ends its streams within one second. A disconnected process ends them when it is
   *   connected again. For this purpose, Redis keeps each revocation for at least 24 hours.
   * - Streams that opened after the call stay open.
   * - Tickets that were issued before the call and have the key or the channel open no stream any more. Their clients are answered
   *   401 (`TICKET_INVALID`). Tickets that are issued after the call are valid.
   * - The number is the sum of the answers that arrive within one second. Processes that do not answer are not counted. On a Redis
   *   Cluster, the call always takes one second, because the number of processes is not known.
   * - If there are more than about 10,000 revocations, Redis removes the oldest ones. Their `forMs` then ends early.
   *
   * Rejects with `ConfigError` if an argument is invalid, with `INVALID_CHANNEL` or `FORBIDDEN` for the channel, with `CLOSED`, or
   * with a Redis error. After a Redis error, call it again: the revocation is probably not stored, and no stream has ended.
   *
   * @example await sse.revoke({ key: userId })
   */
  revoke(target: RevocationTarget, options?: RevokeOptions): Promise<number>;
  /** Writes to the option `logger`, for adapters. */
  readonly log: ServiceLog;
  /** The Redis connections of this service, for leases of your own. */
  readonly pool: ConnectionPool;
  /** Notifications that are stored for each user, and streamed to open pages. */
  readonly notifications: NotificationService;
  /** Tickets that open streams for clients that cannot send a header. */
  readonly tickets: TicketService;
  /**
   * Returns the queue with this name: 1 to 64 characters of A-Z a-z 0-9 _ . -. Each call with the same name returns the same
   * object. `schemas` validate the payload of each kind of task and give its type.
   *
   * Throws `ConfigError` if an option is invalid or differs from an earlier call, and `CLOSED`.
   */
  queue<Schemas extends SchemaMap>(
    name: string,
    options: QueueOptionsWith<Schemas>,
  ): QueueService<OutputsOf<Schemas>, InputsOf<Schemas>>;
  /**
   * Returns the queue with this name. `Tasks` gives the type of the payload of each kind of task.
   *
   * @example sse.queue<{ resize: { file: string } }>("media")
   * @defaultValue the name `"default"`, with any kind and any payload
   */
  queue<Tasks extends TaskMap = AnyTasks>(name?: string, options?: QueueOptions<Tasks>): QueueService<Tasks>;
  /**
   * Returns the current state of a task of any queue, and the number of events that its channel had at that time. `null` if
   * no task has this id.
   *
   * Rejects with `INVALID_TASK` or an error of Redis.
   */
  task(id: string): Promise<TaskSnapshot | null>;
  /**
   * Returns the state of the service and of its Redis. If Redis is unavailable, the promise still resolves. Calls at the same
   * time share one check for drift.
   */
  status(options?: StatusOptions): Promise<StatusReport>;
  /**
   * Refuses new streams and ends the open ones, spread over time. Publishing, queues and workers continue.
   *
   * Rejects with `ConfigError` if an option is invalid, and with nothing else.
   */
  drain(options?: DrainOptions): Promise<void>;
  /** Ends streams, workers and connections, in this order. Then the process can exit. Never rejects. */
  close(): Promise<void>;
  /** Calls `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

const PUBLISH_OPTIONS: ReadonlySet<string> = new Set<keyof PublishOptions>(["history", "finite"]);
const DRAIN_OPTIONS: ReadonlySet<string> = new Set<keyof DrainOptions>([
  "timeoutMs",
  "spreadMs",
  "beforeStreamsEnd",
]);

/** Creates a service. It connects to Redis when it is first used. Throws `ConfigError` if an option is invalid. */
export function createRedisSse(options?: RedisSseOptions): RedisSse {
  return new RedisSseService(readOptions(options));
}

const published = diagnosticChannel("redis-sse:publish");

/** The composition root: creates every part and connects the parts. */
class RedisSseService implements RedisSse {
  readonly log: ServiceLog;
  readonly pool: ConnectionPool;
  readonly notifications: NotificationService;
  readonly tickets: TicketService;
  readonly #instance = createInstanceName();
  readonly #settings: Settings;
  readonly #streams: SessionManager;
  readonly #revocations: Revocations;
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
    const slices = new Slices(clock);
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
      slices,
      limits,
      encodeEnvelope,
      toEvent: (channel, position, entry) =>
        readLoggedEvent(channel, { position, ...entry }, limits.maxEventBytes),
      serialize: (message) => serializeMessage(message, limits.maxEventBytes),
      sizeOf: ({ data, frame }) => data.length + 2 * frame.length + 400,
    });
    this.#queues = new Queues({
      commands,
      subscribe: (channel, onMessage) =>
        this.#streams.subscribe(channel, { onMessage, onFault: (fault) => this.#warnOfWake(fault) }),
      publish: (channel, data) => this.#publishProgress(channel, data),
      newEpoch,
      keyPrefix,
      clock,
      log: this.log,
      maxBytes: limits.maxEventBytes,
      // All task channels have the same bounds, because a script claims tasks before it knows their ids.
      keepEvents: settings.history.policy(progressChannel("any")) === null ? null : limits.maxReplayEvents,
    });
    this.#revocations = new Revocations({
      store: new RevocationStore(keyPrefix, commands),
      subscribe: (channel, onMessage, onFault) =>
        this.#streams.subscribe(channel, { onMessage, onFault, isCounted: false }),
      end: (target, decidedUntil) => this.#streams.revoke(target, decidedUntil),
      instance: this.#instance,
      resolverTimeoutMs: limits.resolverTimeoutMs,
      clock,
      log: this.log,
    });
    this.#streams = new SessionManager({
      settings: {
        ...settings,
        limits: { ...limits, subscribeTimeoutMs: subscribeTimeoutOf(settings) },
      },
      clock,
      slices,
      log: this.log,
      history: withTaskLogs(this.#history.reader, (id) => this.#queues.watch(id)),
      idTokens: settings.secrets && new IdTokens(settings.secrets),
      connect: (handlers) => new SubscriberConnection(this.pool.subscriber, clock, pingMs, handlers),
      lease: (holder, signal) => this.pool.lease({ holder, signal }),
      explain: (fault) => (fault.code === "TIMEOUT" ? (this.pool.subscriberFault ?? fault) : fault),
      rights: this.#revocations,
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
    this.tickets = new TicketService({
      commands,
      keyPrefix,
      clock,
      slices,
      readChannels: (selection) => parseStreamSelection(selection, keyPrefix, limits.maxChannelsPerSession),
      revocations: this.#revocations,
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
    request: Omit<StreamRequest, "key" | "revalidate">,
    sink: Sink,
    resolver: () => T | PromiseLike<T>,
  ): Promise<{ readonly value: T } | null> {
    return this.#streams.resolve(request, sink, resolver);
  }

  check(): RedisSseError | null;
  check(request: StreamRequest, answer: AccessAnswer): RedisSseError | null;
  check(request?: StreamRequest, answer?: AccessAnswer): RedisSseError | null {
    return request === undefined ? this.#streams.refusal : this.#streams.check(request, answer);
  }

  open(request: StreamRequest, sink: Sink, answer: AccessAnswer): Promise<PubSubSession> {
    return this.#streams.open(request, sink, answer);
  }

  async revoke(target: RevocationTarget, options: RevokeOptions = {}): Promise<number> {
    const { keyPrefix } = this.#settings;
    const checks = { readKey, assertChannel: (name: unknown) => assertChannel(name, keyPrefix) };
    const revocation = readRevocation(target, options, checks);
    if (this.#closed !== null) throw new RedisSseError("CLOSED", "this service is closed");
    return this.#revocations.revoke(revocation);
  }

  // The types of a queue exist only at compile time.
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
    const { timeoutMs = 10_000, beforeStreamsEnd } = options;
    readMilliseconds("timeoutMs", timeoutMs, 0);
    const { spreadMs = Math.floor(timeoutMs / 2) } = options;
    readWholeNumber("spreadMs", spreadMs, 0, timeoutMs);
    if (beforeStreamsEnd !== undefined && typeof beforeStreamsEnd !== "function") {
      throw optionError("beforeStreamsEnd as a function", beforeStreamsEnd);
    }
    await this.#streams.drain({ timeoutMs, spreadMs, beforeStreamsEnd });
  }

  close(): Promise<void> {
    if (this.#closed === null) {
      // The promise must exist before the effects, because they may call close() again.
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
    this.#revocations.close();
    await Promise.all([this.#streams.close(), this.#history.close(), this.tickets.close()]);
    await this.pool.close();
    this.log.info("closed");
  }

  #warnOfWake({ code, message }: RedisSseError): void {
    if (code === "CLOSED" || code === "REDIS_UNAVAILABLE" || code === "REDIS_AUTH") return;
    const text = "workers get no notice of new tasks, and find them later by polling: %s";
    this.log.fault("wake", text, message);
  }

  /** Publishes the progress of work outside the queues. */
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
      revocations: this.#revocations.statistics,
      channels: this.#streams.channels,
      queues: this.#queues.statistics,
    };
  }
}

function toReceipt(channel: string, { position, receivers }: LogReceipt): PublishReceipt {
  return { id: position && encodeEntries(encodeEntry({ tag: tagOf(channel), ...position })), receivers };
}

/** In dedicated mode, a subscription first needs a lease, so the deadline of the lease is added. */
function subscribeTimeoutOf({ subscriptions, limits, pool }: Settings): number {
  return limits.subscribeTimeoutMs + (subscriptions === "dedicated" ? pool.acquireTimeoutMs : 0);
}
