import { monotonicNow, type Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { ConfigError, oneNodeError, RedisSseError, sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { warnOfEviction } from "./eviction.js";
import { readWholeNumber } from "../validate.js";
import {
  destroyClient,
  endClient,
  isReady,
  startPinging,
  type ConnectionRole,
  type RedisClient,
} from "./client.js";
import { isOneNodeOfMany } from "./cluster.js";
import type { ConnectionFactory } from "./connection-factory.js";
import { INCREMENT_WITH_TTL } from "./lua/generated.js";
import { Semaphore } from "./semaphore.js";
import { defineScript } from "./script.js";

export interface PoolOptions {
  /** Leased connections at the same time. */
  readonly maxConnections: number;
  /** Deadline for a lease in milliseconds, with the time to connect. */
  readonly acquireTimeoutMs: number;
  /** Requests that can wait for a lease at the same time. A further request is refused immediately. */
  readonly maxWaiting: number;
  /** Milliseconds after which a lease is marked as overdue. It is not ended. */
  readonly leaseAlarmMs: number;
  /** Milliseconds between two PINGs on a connection. */
  readonly pingMs: number;
}

/** Options of `ConnectionPool.lease()`. */
export interface LeaseRequest {
  /** A description of the holder, for `statistics` and the log. */
  readonly holder: string;
  /** Aborts the request. The promise rejects with `ABORTED`, and the connection is dropped. */
  readonly signal?: AbortSignal;
}

/** The state of the pool. `inUse` and `available` count leases. The shared connections are counted in `connections`. */
export interface PoolStatistics {
  /** The option `pool.maxConnections`. */
  readonly maxConnections: number;
  /** Connections that can be leased now. */
  readonly available: number;
  /** Connections that are leased now. */
  readonly inUse: number;
  /** Requests that wait for a lease. */
  readonly waiting: number;
  /** Connections by role. A connection counts from its creation until it has ended. */
  readonly connections: Readonly<Record<ConnectionRole, number>>;
  /** Each lease. */
  readonly leases: readonly LeaseStatistics[];
  /** Number of overdue leases. They were never released, or their streams last very long. */
  readonly overdue: number;
}

/** One leased connection. */
export interface LeaseStatistics {
  /** The description of the holder that was passed to `lease()`. */
  readonly holder: string;
  /** Milliseconds since the connection was leased. */
  readonly ageMs: number;
  /** Whether the lease is held for `leaseAlarmMs` or longer. */
  readonly overdue: boolean;
}

/** The connections of one role. */
export interface ConnectionCensus {
  /** Connections that were created and have not ended. */
  readonly made: number;
  /** The number of these that seem to be connected. A lease counts after one second. */
  readonly ready: number;
}

const QUIT_TIMEOUT_MS = 1_000;

const incrementWithTtl = defineScript("IncrementWithTtl", INCREMENT_WITH_TTL, 1, Number);

/**
 * All Redis connections of a service.
 *
 * It has one shared connection for commands, one for the subscriptions of the hub, and a limited number of leased connections. Each
 * is created when it is first needed. In dedicated mode, a session leases a connection and has it alone until it releases it.
 */
export class ConnectionPool {
  readonly #connect: ConnectionFactory;
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  readonly #log: ServiceLog;
  readonly #permits: Semaphore;
  readonly #leases = new Set<Lease>();
  /** Requests for a lease that have no result yet. */
  readonly #requests = new Set<AbortController>();
  #commands: RedisClient | null = null;
  #subscriber: RedisClient | null = null;
  #subscriberFault: RedisSseError | null = null;
  /** Set if `redis` names one node of a cluster. */
  #misfit: ConfigError | null = null;
  #stopPinging: () => void = () => {};
  #closed: Promise<void> | null = null;

  constructor(connect: ConnectionFactory, options: PoolOptions, clock: Clock, serviceLog: ServiceLog) {
    this.#connect = connect;
    this.#options = options;
    this.#clock = clock;
    this.#log = serviceLog;
    this.#permits = new Semaphore(options.maxConnections, options.maxWaiting, clock);
  }

  /**
   * The shared connection for commands.
   *
   * Never subscribe on it, and never send it a blocking command. If you duplicate it, set another `connectionName`. Otherwise
   * `status()` reports the duplicate as a leak. Throws `CLOSED` if the service is closed, and `CONFIG` if the connection leads to one
   * node of a cluster.
   */
  get commands(): RedisClient {
    this.#assertOpen();
    if (this.#misfit !== null) throw this.#misfit;
    return (this.#commands ??= this.#connectCommands());
  }

  #connectCommands(): RedisClient {
    const client = this.#connect("command");
    client.on("ready", () => {
      void warnOfEviction(client, this.#log);
      void isOneNodeOfMany(client).then((isMisfit) => {
        this.#misfit = isMisfit ? oneNodeError() : null;
        if (this.#misfit !== null) this.#log.warnOnce("cluster", "%s", this.#misfit.message);
      });
    });
    // A dead connection must be noticed here as soon as on the subscriber connection, because missed events are read over this one.
    this.#stopPinging = startPinging(client, this.#clock, this.#options.pingMs);
    return client;
  }

  /** The connection of the hub. Only the hub subscribes on it. Throws `CLOSED` if the service is closed. */
  get subscriber(): RedisClient {
    this.#assertOpen();
    if (this.#subscriber === null) {
      const client = this.#connect("subscriber");
      client.on("error", (error: unknown) => (this.#subscriberFault = sanitize(error)));
      // A proxy, or a server with too many clients, can close a connection without an error.
      client.on("close", () => (this.#subscriberFault ??= unreachable()));
      client.on("ready", () => (this.#subscriberFault = null));
      this.#subscriber = client;
    }
    return this.#subscriber;
  }

  /** The last known error of the hub's connection. `null` while it is connected. */
  get subscriberFault(): RedisSseError | null {
    return this.#subscriberFault;
  }

  /**
   * Leases a connection that is ready. The caller must release it. Rejects with `POOL_EXHAUSTED`, `REDIS_UNAVAILABLE`, `REDIS_AUTH`,
   * `ABORTED` or `CLOSED`. Then there is nothing to release.
   */
  async lease({ holder, signal }: LeaseRequest): Promise<Lease> {
    this.#assertOpen();
    // One signal for each request, because hundreds of waiting requests would be too many listeners on a shared signal.
    const giveUp = new AbortController();
    const onAbort = (): void => giveUp.abort();
    this.#requests.add(giveUp);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    try {
      return await this.#acquire(holder, giveUp.signal);
    } finally {
      this.#requests.delete(giveUp);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async #acquire(holder: string, signal: AbortSignal): Promise<Lease> {
    const startedAt = monotonicNow(this.#clock);
    await this.#permits.acquire(this.#options.acquireTimeoutMs, signal);
    let lease: Lease;
    let lastError: unknown = null;
    try {
      const since = monotonicNow(this.#clock);
      const client = this.#connect("lease");
      // Without writes, a subscribed connection would not notice that it is dead.
      const stopPinging = startPinging(client, this.#clock, this.#options.pingMs);
      const cancelAlarm = this.#clock.schedule(
        () =>
          this.#log.fault(
            "lease",
            "the lease of %s is overdue: it has been held for %s ms",
            holder,
            this.#options.leaseAlarmMs,
          ),
        this.#options.leaseAlarmMs,
      );
      lease = new Lease(holder, since, client, (released) => {
        stopPinging();
        cancelAlarm();
        this.#leases.delete(released);
        this.#permits.release();
      });
      client.on("error", (error: unknown) => (lastError = error));
    } catch (error) {
      this.#permits.release();
      throw sanitize(error);
    }
    this.#leases.add(lease);
    try {
      const spentMs = monotonicNow(this.#clock) - startedAt;
      await withDeadline(lease.client.connect(), {
        clock: this.#clock,
        timeoutMs: Math.max(1, this.#options.acquireTimeoutMs - spentMs),
        what: "a Redis connection",
        signal,
      });
      return lease;
    } catch (error) {
      lease.release();
      throw connectFault(error, lastError);
    }
  }

  /**
   * Adds one to the counter at `key` and sets its time to live, in one atomic step. Returns the new count.
   *
   * `key` gets no prefix. If the connection is lost before the answer arrives, the command is sent again and can count twice. Rejects
   * with `CONFIG` if an argument is invalid, or with a Redis error.
   */
  async incrementWithTtl(key: string, ttlSeconds = 3600): Promise<number> {
    if (typeof key !== "string" || key === "")
      throw new ConfigError("expected key as a string that is not empty");
    readWholeNumber("ttlSeconds", ttlSeconds, 1);
    try {
      return await incrementWithTtl(this.commands, [key], [ttlSeconds]);
    } catch (error) {
      throw sanitize(error);
    }
  }

  /** The current state of the pool. */
  get statistics(): PoolStatistics {
    const inUse = this.#permits.taken;
    const now = monotonicNow(this.#clock);
    const leases = Array.from(this.#leases, ({ holder, since }) => {
      const ageMs = Math.max(0, Math.round(now - since));
      return { holder, ageMs, overdue: ageMs >= this.#options.leaseAlarmMs };
    });
    return {
      maxConnections: this.#options.maxConnections,
      available: this.#options.maxConnections - inUse,
      inUse,
      waiting: this.#permits.waiting,
      connections: {
        command: this.#commands === null ? 0 : 1,
        subscriber: this.#subscriber === null ? 0 : 1,
        lease: this.#leases.size,
      },
      leases,
      overdue: leases.filter(({ overdue }) => overdue).length,
    };
  }

  /** The connections by role, for a comparison with the numbers of the server. @internal */
  get census(): Readonly<Record<ConnectionRole, ConnectionCensus>> {
    const before = monotonicNow(this.#clock) - 1_000;
    const leases = [...this.#leases];
    return {
      command: countShared(this.#commands),
      subscriber: countShared(this.#subscriber),
      lease: {
        made: leases.length,
        ready: leases.filter(({ client, since }) => since < before && isReady(client)).length,
      },
    };
  }

  /** Whether the command connection seems to be ready. */
  get ready(): boolean {
    return this.#commands !== null && isReady(this.#commands);
  }

  /** Ends all connections. Waiting requests are refused, leases are dropped, and the shared connections end with QUIT. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const request of this.#requests) request.abort();
    for (const lease of this.#leases) {
      this.#log.warn("the lease of %s was still held when the service was closed", lease.holder);
      lease.release();
    }
    this.#stopPinging();
    const shared = [this.#subscriber, this.#commands].filter((client) => client !== null);
    this.#subscriber = null;
    this.#commands = null;
    await Promise.all(shared.map((client) => endClient(client, this.#clock, QUIT_TIMEOUT_MS)));
  }

  #assertOpen(): void {
    if (this.#closed !== null) {
      throw new RedisSseError("CLOSED", "this service is closed");
    }
  }
}

/**
 * Counts a shared connection. Unlike a lease it lasts long, so it needs no minimum age. A Cluster client has a connection to each node
 * to which it has sent a command.
 */
function countShared(client: RedisClient | null): ConnectionCensus {
  if (client !== null && "nodes" in client) {
    const nodes = client.nodes();
    return { made: nodes.length, ready: nodes.filter(isReady).length };
  }
  return { made: client === null ? 0 : 1, ready: client !== null && isReady(client) ? 1 : 0 };
}

/** The error of `connect()` only says that the connection is closed. The `error` event before it has the cause. */
function connectFault(error: unknown, lastError: unknown): RedisSseError {
  const fault = sanitize(error);
  if (fault.code === "ABORTED") return fault;
  const cause = lastError === null ? fault : sanitize(lastError);
  if (cause.code === "REDIS_AUTH" || cause.code === "REDIS_UNAVAILABLE") return cause;
  return unreachable();
}

function unreachable(): RedisSseError {
  return new RedisSseError("REDIS_UNAVAILABLE", "Redis cannot be reached");
}

/** One leased connection. Its holder has it alone until it releases it. */
export class Lease {
  /** A description of the holder, for operators. */
  readonly holder: string;
  /** The start of the lease, by the monotonic clock. */
  readonly since: number;
  readonly #client: RedisClient;
  readonly #giveBack: (lease: Lease) => void;
  #released = false;

  constructor(holder: string, since: number, client: RedisClient, giveBack: (lease: Lease) => void) {
    this.holder = holder;
    this.since = since;
    this.#client = client;
    this.#giveBack = giveBack;
  }

  /** An accessor, so that a printed lease does not show the options of its connection. */
  get client(): RedisClient {
    return this.#client;
  }

  /** Drops the connection and makes room in the pool. Later calls have no effect. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    try {
      destroyClient(this.#client);
    } finally {
      this.#giveBack(this);
    }
  }
}
