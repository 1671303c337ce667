import { withDeadline } from "./deadline.js";
import { ConfigError, RedisSseError, sanitize } from "./errors.js";
import { createLog, printable } from "./log.js";
import { NotificationService } from "./notifications/notification-service.js";
import { readOptions, type RedisSseOptions, type Settings } from "./options.js";
import { answerTo, COMPLETED_ID } from "./pubsub/answer.js";
import { assertChannel, parseSelection, type ChannelSelection } from "./pubsub/channel.js";
import { DedicatedTransport } from "./pubsub/dedicated-transport.js";
import { encodeEnvelope } from "./pubsub/envelope.js";
import { readInboundEvent, type InboundEvent } from "./pubsub/inbound-event.js";
import { serializeMessage, type OutboundMessage } from "./pubsub/outbound-message.js";
import { SessionRegistry } from "./pubsub/session-registry.js";
import { PubSubSession, type SessionContext } from "./pubsub/session.js";
import { SharedTransport } from "./pubsub/shared-transport.js";
import type { Sink, StreamRequest } from "./pubsub/sink.js";
import { SubscriptionHub, type HubMember } from "./pubsub/subscription-hub.js";
import { Ticker } from "./pubsub/ticker.js";
import type { CreateTransport } from "./pubsub/transport.js";
import { QueueService, type QueueOptions } from "./queue/queue-service.js";
import { ClientPool } from "./redis/client-pool.js";
import { createConnectionFactory } from "./redis/connection-factory.js";
import { createInstanceName } from "./redis/connection-name.js";
import { SubscriberConnection } from "./redis/subscriber-connection.js";
import { findDrift, type DriftReport, type LocalView } from "./status/drift.js";
import {
  readServerInfo,
  type ServerInfo,
  type StatusOptions,
  type StatusReport,
} from "./status/status-report.js";
import { readMilliseconds } from "./validate.js";

/** What became of a published event. */
export interface PublishReceipt {
  /** The event's place in its channel's history; `null` on a channel without history. */
  readonly id: string | null;
  /** How many Redis connections received it: processes of ours, and whoever else subscribes. */
  readonly receivers: number;
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
  publish(channel: string, message: OutboundMessage): Promise<PublishReceipt>;
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

type ReadEvent = (channel: string, message: string) => InboundEvent | null;

/** How long a channel that nobody listens to stays subscribed: a page that is reloaded comes back to it. */
const LINGER_MS = 500;

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
  readonly #hub: SubscriptionHub;
  readonly #registry: SessionRegistry;
  readonly #sessionContext: SessionContext;
  readonly #tickers = new Map<number, Ticker>();
  readonly #queues = new Map<string, QueueService>();
  readonly #closing = new AbortController();
  /** What was malformed on the connections that streams have of their own; the hub counts that on its own. */
  #dropped = 0;
  #draining = false;
  /** One look at a time, however many ask. */
  #drift: Promise<DriftReport | null> | null = null;
  #closed: Promise<void> | null = null;

  constructor(settings: Settings) {
    const { clock, limits, keyPrefix, heartbeatMs, retryMs } = settings;
    this.#settings = settings;
    this.pool = new ClientPool(
      createConnectionFactory(settings.redis, this.#instance),
      { ...settings.pool, pingMs: heartbeatMs },
      clock,
    );
    this.#registry = new SessionRegistry(limits);
    const read: ReadEvent = (channel, message) => readInboundEvent(channel, message, limits.maxEventBytes);
    this.#hub = new SubscriptionHub({
      connect: (handlers) => new SubscriberConnection(this.pool.subscriber, clock, heartbeatMs, handlers),
      read,
      clock,
      lingerMs: LINGER_MS,
      closeTimeoutMs: limits.closeTimeoutMs,
    });
    this.notifications = new NotificationService({
      commands: () => this.pool.commands,
      keyPrefix,
      clock,
      maxBytes: limits.maxEventBytes,
    });
    this.#sessionContext = {
      settings: { ...limits, subscribeTimeoutMs: this.#subscribeTimeoutMs(), heartbeatMs, retryMs },
      clock,
      createTransport: this.#transports(read),
      assertChannel: (name) => assertChannel(name, keyPrefix),
      startTicking: (session, heartbeat) => this.#startTicking(session, heartbeat),
      explain: (fault) => (fault.code === "TIMEOUT" ? (this.pool.subscriberFault ?? fault) : fault),
      onClosed: (session) => this.#registry.remove(session),
    };
  }

  async publish(channel: string, message: OutboundMessage): Promise<PublishReceipt> {
    assertChannel(channel, this.#settings.keyPrefix);
    const serialized = serializeMessage(message, this.#settings.limits.maxEventBytes);
    try {
      const receivers = await this.pool.commands.publish(channel, encodeEnvelope(serialized));
      return { id: null, receivers };
    } catch (error) {
      throw sanitize(error);
    }
  }

  check(request: StreamRequest, channels: ChannelSelection): RedisSseError | null {
    try {
      this.#check(request, channels);
      return null;
    } catch (error) {
      return sanitize(error);
    }
  }

  async open(request: StreamRequest, sink: Sink, channels: ChannelSelection): Promise<PubSubSession> {
    let session: PubSubSession;
    try {
      session = this.#admit(request, sink, channels);
    } catch (error) {
      const fault = sanitize(error);
      this.#registry.countRefusal(fault.code);
      const retryMs =
        fault.code === "CONFIG" ? this.#settings.retryMs : (request.retryMs ?? this.#settings.retryMs);
      if (!sink.closed)
        sink.answer(answerTo(fault, { onUnavailable: request.onUnavailable ?? "event", retryMs }));
      throw fault;
    }
    await session.start();
    return session;
  }

  queue(name = "default", options?: QueueOptions): QueueService {
    if (this.#closed !== null) throw new RedisSseError("CLOSED", "this service is closed");
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new QueueService(name, options, {
        commands: () => this.pool.commands,
        subscribe: (channel, onMessage) => this.#subscribe(channel, onMessage),
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

  async status({ drift: wanted = true }: StatusOptions = {}): Promise<StatusReport> {
    const redis: ServerInfo =
      this.#closed === null ? await readServerInfo(this.pool.commands) : { fault: "CLOSED" };
    const asked = wanted && redis.fault === undefined && this.#closed === null;
    const drift = asked ? await this.#findDrift(redis.connectedClients) : null;
    const hub = this.#hub.statistics;
    return {
      instance: this.#instance,
      state: this.#closed !== null ? "closed" : this.#draining ? "draining" : "open",
      subscriptions: this.#settings.subscriptions,
      pool: this.pool.statistics,
      hub: { ...hub, dropped: hub.dropped + this.#dropped },
      sessions: this.#registry.statistics,
      channels: this.#registry.channels,
      redis,
      drift,
    };
  }

  async drain({ timeoutMs = 10_000, spreadMs = timeoutMs / 2 }: DrainOptions = {}): Promise<void> {
    readMilliseconds("timeoutMs", timeoutMs, 0);
    if (!(spreadMs >= 0 && spreadMs <= timeoutMs)) {
      throw new ConfigError("expected spreadMs as a number of milliseconds from 0 to timeoutMs");
    }
    const { clock } = this.#settings;
    const late = new AbortController();
    this.#draining = true;
    log("draining %d sessions over %d ms", this.#registry.size, spreadMs);
    const closing = this.#registry.closeAll("drain", clock, spreadMs, late.signal);
    // Who has not read its goodbye by then is dropped at the deadline of its own teardown.
    await withDeadline(closing, { clock, timeoutMs, what: "all streams to end" }).catch(() => late.abort());
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#draining = true;
    this.#closing.abort();
    await Promise.all([
      this.#registry.closeAll("shutdown", this.#settings.clock, 0),
      ...Array.from(this.#queues.values(), (queue) => queue.close()),
    ]);
    await this.#hub.close();
    await this.pool.close();
    log("closed");
  }

  #findDrift(connectedClients: number | null): Promise<DriftReport | null> {
    this.#drift ??= findDrift({
      commands: () => this.pool.commands,
      instance: this.#instance,
      connectedClients,
      clock: this.#settings.clock,
      look: () => this.#look(),
      signal: this.#closing.signal,
    }).finally(() => (this.#drift = null));
    return this.#drift;
  }

  /** What this service believes to hold on the server. */
  #look(): LocalView {
    const channels = new Set([...this.#hub.heardChannels, ...this.#registry.acknowledgedChannels]);
    return { connections: this.pool.census, subscriptions: this.#hub.account, channels: [...channels] };
  }

  #admit(request: StreamRequest, sink: Sink, channels: ChannelSelection): PubSubSession {
    const names = this.#check(request, channels);
    const session = new PubSubSession(this.#sessionContext, request, sink, names);
    this.#registry.add(session, request.key);
    return session;
  }

  /** The channels of a request that may have a stream; throws the fault of one that may not. */
  #check(request: StreamRequest, channels: ChannelSelection): readonly string[] {
    if (request.heartbeatMs !== undefined) readMilliseconds("heartbeatMs", request.heartbeatMs);
    if (request.retryMs !== undefined) readMilliseconds("retryMs", request.retryMs);
    if (request.lastEventId === COMPLETED_ID) throw new RedisSseError("COMPLETED", "this stream has ended");
    if (this.#draining) throw new RedisSseError("CLOSED", "this server is shutting down");
    const names = parseSelection(channels, this.#settings.keyPrefix);
    if (names.length === 0) throw new RedisSseError("FORBIDDEN", "no channel is open to this request");
    const { maxChannelsPerSession } = this.#settings.limits;
    if (names.length > maxChannelsPerSession) {
      throw new RedisSseError(
        "LIMIT_CHANNELS",
        `expected at most ${maxChannelsPerSession} channels in a stream, got ${names.length}`,
      );
    }
    this.#registry.assertRoom(request.key);
    return names;
  }

  /** In dedicated mode a subscription begins with a lease, which has a deadline of its own. */
  #subscribeTimeoutMs(): number {
    const { subscriptions, limits, pool } = this.#settings;
    return limits.subscribeTimeoutMs + (subscriptions === "dedicated" ? pool.acquireTimeoutMs : 0);
  }

  #transports(read: ReadEvent): CreateTransport {
    if (this.#settings.subscriptions === "shared")
      return (_, listener) => new SharedTransport(this.#hub, listener);
    const readOwn: ReadEvent = (channel, message) => {
      const event = read(channel, message);
      if (event === null) {
        this.#dropped++;
        log("dropped a malformed message on %s", printable(channel));
      }
      return event;
    };
    return (holder, listener) =>
      new DedicatedTransport(
        { lease: (signal) => this.pool.lease({ holder, signal }), read: readOwn },
        listener,
      );
  }

  /** Listens to a channel for a part of this service; the answer ends it. What cannot be had is not missed. */
  #subscribe(channel: string, onMessage: () => void): () => void {
    const member: HubMember = {
      deliver: () => onMessage(),
      interrupted: () => onMessage(),
      refused: (_, fault) => log("no subscription for a worker: %s", fault.message),
    };
    // What was published before the acknowledgement went unheard.
    this.#hub
      .join(channel, member)
      .then(onMessage, (error: unknown) => log("subscribe: %s", sanitize(error).message));
    return () => this.#hub.leave(channel, member);
  }

  /** Sessions are grouped by how finely their deadlines have to be watched. */
  #startTicking(session: PubSubSession, heartbeatMs: number): () => void {
    const finest = Math.min(heartbeatMs, this.#settings.limits.maxStallMs) / 4;
    const periodMs = Math.max(10, Math.min(1_000, finest));
    let ticker = this.#tickers.get(periodMs);
    if (ticker === undefined) {
      ticker = new Ticker(this.#settings.clock, periodMs);
      this.#tickers.set(periodMs, ticker);
    }
    return ticker.add(session);
  }
}
