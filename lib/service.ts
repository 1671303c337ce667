import { RedisSseError } from "./errors.js";
import { assertChannel, parseStreamSelection } from "./events/channel-name.js";
import { encodeEnvelope, readLoggedEvent, type LoggedInboundEvent } from "./events/inbound-event.js";
import { serializeMessage } from "./events/outbound-message.js";
import { History } from "./history/history.js";
import { newEpoch } from "./history/log-publisher.js";
import { ServiceLog } from "./logger.js";
import { NotificationService } from "./notifications/notification-service.js";
import { readOptions, type RedisSseOptions, type Settings } from "./options.js";
import { readTcpTable } from "./peers/proc-net.js";
import { Publisher } from "./publisher.js";
import type { QueueOptions, QueueOptionsWith } from "./queue/queue-options.js";
import type { QueueService } from "./queue/queue-service.js";
import { Queues } from "./queue/queues.js";
import { withTaskLogs } from "./queue/task-logs.js";
import type { AnyTasks, InputsOf, OutputsOf, SchemaMap, TaskMap } from "./queue/task-map.js";
import { progressChannel } from "./queue/task.js";
import type { RedisSse } from "./redis-sse.js";
import { createConnectionFactory } from "./redis/connection-factory.js";
import { ConnectionMonitor } from "./redis/connection-monitor.js";
import { createInstanceName } from "./redis/connection-name.js";
import { ConnectionPool } from "./redis/connection-pool.js";
import { SubscriberConnection } from "./redis/subscriber-connection.js";
import { readRevocation, type RevocationTarget, type RevokeOptions } from "./rights/revocation.js";
import { RevocationStore } from "./rights/revocation-store.js";
import { Revocations } from "./rights/revocations.js";
import { NewStreamCheck } from "./rights/new-stream-check.js";
import { SessionManager } from "./sessions/session-manager.js";
import { readKey } from "./sessions/stream-options.js";
import { Slices } from "./slices.js";
import { DEFAULT_HEARTBEAT_MS } from "./sse/frame.js";
import { IdTokens } from "./sse/id-token.js";
import { StatusService, type LocalStatus } from "./status/status-service.js";
import { Subscriptions } from "./subscriptions/subscriptions.js";
import { TicketService } from "./tickets/ticket-service.js";

/** Creates a service. It connects to Redis when it is first used. Throws `ConfigError` if an option is invalid. */
export function createRedisSse(options?: RedisSseOptions): RedisSse {
  return new RedisSseService(readOptions(options));
}

/** The composition root: creates every part, connects the parts, and closes them. Most methods are those of a part. */
class RedisSseService implements RedisSse {
  readonly log: ServiceLog;
  readonly pool: ConnectionPool;
  readonly notifications: NotificationService;
  readonly tickets: TicketService;
  readonly publish: RedisSse["publish"];
  readonly lastEventId: RedisSse["lastEventId"];
  readonly complete: RedisSse["complete"];
  readonly writer: RedisSse["writer"];
  readonly resolve: RedisSse["resolve"];
  readonly check: RedisSse["check"];
  readonly open: RedisSse["open"];
  readonly drain: RedisSse["drain"];
  readonly task: RedisSse["task"];
  readonly status: RedisSse["status"];
  readonly #instance = createInstanceName();
  readonly #settings: Settings;
  readonly #subscriptions: Subscriptions;
  readonly #streams: SessionManager;
  readonly #rights: NewStreamCheck;
  readonly #revocations: Revocations;
  readonly #history: History<LoggedInboundEvent>;
  readonly #queues: Queues;
  readonly #closing = new AbortController();
  #closed: Promise<void> | null = null;

  constructor(settings: Settings) {
    const { clock, limits, keyPrefix } = settings;
    // Without heartbeats to clients, dead connections to Redis are still found.
    const pingMs = settings.heartbeatMs || DEFAULT_HEARTBEAT_MS;
    const log = new ServiceLog(settings.logger, clock);
    const slices = new Slices(clock);
    const monitor = new ConnectionMonitor(log, clock);
    const connect = createConnectionFactory(settings.redis, this.#instance, monitor);
    const pool = new ConnectionPool(connect, { ...settings.pool, pingMs }, clock, log);
    const commands = (): ConnectionPool["commands"] => pool.commands;
    const common = { commands, keyPrefix, clock, log };
    this.log = log;
    this.pool = pool;
    this.#settings = settings;
    this.#history = new History({
      ...common,
      policy: settings.history.policy,
      slices,
      limits,
      encodeEnvelope,
      toEvent: (channel, position, entry) =>
        readLoggedEvent(channel, { position, ...entry }, limits.maxEventBytes),
      serialize: (message) => serializeMessage(message, limits.maxEventBytes),
      sizeOf: ({ data, frame }) => data.length + 2 * frame.length + 400,
    });
    const publisher = new Publisher({ history: this.#history, keyPrefix, limits });
    const history = withTaskLogs(this.#history.reader, (id) => this.#queues.watch(id));
    this.#subscriptions = new Subscriptions({
      settings,
      clock,
      slices,
      log,
      history,
      connect: (handlers) => new SubscriberConnection(pool.subscriber, clock, pingMs, handlers),
      lease: (holder, signal) => pool.lease({ holder, signal }),
    });
    this.#queues = new Queues({
      ...common,
      subscribe: (channel, onMessage) =>
        this.#subscriptions.subscribe(channel, onMessage, (fault) => this.#warnOfWake(fault)),
      publish: (channel, data) => this.#publishProgress(channel, data),
      newEpoch,
      maxBytes: limits.maxEventBytes,
      // All task channels have the same bounds, because a script claims tasks before it knows their ids.
      keepEvents: settings.history.policy(progressChannel("any")) === null ? null : limits.maxReplayEvents,
    });
    this.#rights = new NewStreamCheck(clock, limits.resolverTimeoutMs);
    this.#revocations = new Revocations({
      store: new RevocationStore(keyPrefix, commands),
      subscribe: (channel, onMessage, onFault) =>
        this.#subscriptions.subscribe(channel, onMessage, onFault, false),
      end: (target, decidedUntil) => this.#streams.endRevoked(target, decidedUntil),
      instance: this.#instance,
      rights: this.#rights,
      clock,
      log,
    });
    this.#streams = new SessionManager({
      settings: { ...settings, limits: { ...limits, subscribeTimeoutMs: subscribeTimeoutOf(settings) } },
      clock,
      slices,
      log,
      history,
      idTokens: settings.secrets && new IdTokens(settings.secrets),
      subscriptions: this.#subscriptions,
      explain: (fault) => (fault.code === "TIMEOUT" ? (pool.subscriberFault ?? fault) : fault),
      rights: this.#rights,
      followRevocations: () => this.#revocations.follow(),
      readTcpTable,
    });
    this.notifications = new NotificationService({
      ...common,
      publish: (channel, data) => this.#history.publish(channel, { event: undefined, data }),
      maxBytes: limits.maxEventBytes,
    });
    this.tickets = new TicketService({
      ...common,
      slices,
      readChannels: (selection) => parseStreamSelection(selection, keyPrefix, limits.maxChannelsPerSession),
      revocations: this.#revocations,
      isRevokedSince: (at, key, channels) => this.#rights.isRevokedSince(at, key, channels),
    });
    const status = new StatusService({
      commands,
      clock,
      instance: this.#instance,
      signal: this.#closing.signal,
      local: () => this.#localStatus(),
      countTasks: () => this.#queues.counts(),
      look: () => ({
        connections: pool.census,
        subscriptions: this.#subscriptions.account,
        channels: this.#streams.heardChannels,
      }),
    });
    this.publish = publisher.publish.bind(publisher);
    this.lastEventId = publisher.lastEventId.bind(publisher);
    this.complete = publisher.complete.bind(publisher);
    this.writer = publisher.writer.bind(publisher);
    this.resolve = this.#streams.resolve.bind(this.#streams);
    this.check = this.#streams.check.bind(this.#streams);
    this.open = this.#streams.open.bind(this.#streams);
    this.drain = this.#streams.drain.bind(this.#streams);
    this.task = this.#queues.find.bind(this.#queues);
    this.status = status.report.bind(status);
  }

  async revoke(target: RevocationTarget, options: RevokeOptions = {}): Promise<number> {
    const { keyPrefix } = this.#settings;
    const checks = { readKey, assertChannel: (name: unknown) => assertChannel(name, keyPrefix) };
    const revocation = readRevocation(target, options, checks);
    this.#assertOpen();
    return this.#revocations.revoke(revocation);
  }

  // The types of a queue exist only at compile time.
  queue<Schemas extends SchemaMap>(
    name: string,
    options: QueueOptionsWith<Schemas>,
  ): QueueService<OutputsOf<Schemas>, InputsOf<Schemas>>;
  queue<Tasks extends TaskMap = AnyTasks>(name?: string, options?: QueueOptions<Tasks>): QueueService<Tasks>;
  queue(name = "default", options?: QueueOptions<never>): unknown {
    this.#assertOpen();
    return this.#queues.get(name, options);
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
    await Promise.all([this.#subscriptions.close(), this.#history.close(), this.tickets.close()]);
    await this.pool.close();
    this.log.info("closed");
  }

  #assertOpen(): void {
    if (this.#closed !== null) throw new RedisSseError("CLOSED", "this service is closed");
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
      hub: this.#subscriptions.statistics,
      sessions: this.#streams.statistics,
      history: { ...this.#history.reader.statistics, gaps: this.#streams.gaps },
      buffers: this.#streams.buffers,
      rules: { failed: this.#streams.ruleFailures },
      notifications: this.notifications.statistics,
      revocations: this.#rights.statistics,
      channels: this.#streams.channels,
      queues: this.#queues.statistics,
    };
  }
}

/** In dedicated mode, a subscription first needs a lease, so the deadline of the lease is added. */
function subscribeTimeoutOf({ subscriptions, limits, pool }: Settings): number {
  return limits.subscribeTimeoutMs + (subscriptions === "dedicated" ? pool.acquireTimeoutMs : 0);
}
