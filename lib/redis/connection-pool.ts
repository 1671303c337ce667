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
  /** How many connections may be leased at once: dedicated sessions, one each. Default 200. */
  readonly maxConnections: number;
  /** How long a lease may take, waiting for a place and connecting together, in milliseconds. Default 5,000. */
  readonly acquireTimeoutMs: number;
  /** How many may wait for a place at once; further ones are refused at once. Default 1,000. */
  readonly maxWaiting: number;
  /** How long a lease may last before it is marked as overdue, in milliseconds. Nothing is taken away. Default 1 hour. */
  readonly leaseAlarmMs: number;
  /** How often a leased connection is pinged, in milliseconds. */
  readonly pingMs: number;
}

/** Options of `ConnectionPool.lease()`. */
export interface LeaseRequest {
  /** Who holds the connection, for `statistics`. */
  readonly holder: string;
  /** Gives up: the wait ends at once, and a connection that comes all the same is dropped. */
  readonly signal?: AbortSignal;
}

/** The pool at one moment. `inUse` and `available` count leases; the shared connections are in `connections`. */
export interface PoolStatistics {
  /** The option `pool.maxConnections`. */
  readonly maxConnections: number;
  /** Connections that can be leased now. */
  readonly available: number;
  /** Connections that are leased now. */
  readonly inUse: number;
  /** Requests that wait for a lease. */
  readonly waiting: number;
  /** Connections made and not yet ended, by role. */
  readonly connections: Readonly<Record<ConnectionRole, number>>;
  /** Each lease. */
  readonly leases: readonly LeaseStatistics[];
  /** How many leases are overdue: nobody gave them back, or their streams last that long. */
  readonly overdue: number;
}

/** One leased connection. */
export interface LeaseStatistics {
  /** Who holds the connection, as given to `lease()`. */
  readonly holder: string;
  /** Milliseconds since the connection was leased. */
  readonly ageMs: number;
  /** Held for `leaseAlarmMs` or longer. */
  readonly overdue: boolean;
}

/** Connections of one role. */
export interface ConnectionCensus {
  /** Made and not yet ended. */
  readonly made: number;
  /** Of these, connected for a second or more as far as can be told. */
  readonly ready: number;
}

const QUIT_TIMEOUT_MS = 1_000;

const incrementWithTtl = defineScript("IncrementWithTtl", INCREMENT_WITH_TTL, 1, Number);

/**
 * All Redis connections of a service: one shared for commands, one for the hub's subscriptions, and a
 * bounded number of leased ones. Each is made when it is first needed. Commands borrow the shared connection
 * for a moment; a subscription of a session's own holds its connection alone until it is released.
 */
export class ConnectionPool {
  readonly #connect: ConnectionFactory;
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  readonly #log: ServiceLog;
  readonly #permits: Semaphore;
  readonly #leases = new Set<Lease>();
  /** Leases that are being waited for. */
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
   * The shared connection for ordinary commands. Never subscribe or block on it, and give a duplicate of it a
   * `connectionName` of its own: one that bears ours is taken for a leak. Throws `CLOSED`, and `CONFIG` if it has turned out to
   * lead to one node of a cluster.
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
    // A link that is dead but looks open is noticed as soon as that of the subscriber: what was missed is read over this one.
    this.#stopPinging = startPinging(client, this.#clock, this.#options.pingMs);
    return client;
  }

  /** The hub's connection: what is subscribed on it is the hub's to decide, and nobody else's. Throws `CLOSED`. */
  get subscriber(): RedisClient {
    this.#assertOpen();
    if (this.#subscriber === null) {
      const client = this.#connect("subscriber");
      client.on("error", (error: unknown) => (this.#subscriberFault = sanitize(error)));
      // A server that is full, or a proxy, may close a connection without any error.
      client.on("close", () => (this.#subscriberFault ??= unreachable()));
      client.on("ready", () => (this.#subscriberFault = null));
      this.#subscriber = client;
    }
    return this.#subscriber;
  }

  /** Why the hub's connection is down, as far as it was told; `null` while it is up. */
  get subscriberFault(): RedisSseError | null {
    return this.#subscriberFault;
  }

  /**
   * A connection of the caller's own, connected and ready; it must be released. Rejects with
   * `POOL_EXHAUSTED`, `REDIS_UNAVAILABLE`, `REDIS_AUTH`, `ABORTED` or `CLOSED`, and then holds nothing.
   */
  async lease({ holder, signal }: LeaseRequest): Promise<Lease> {
    this.#assertOpen();
    // One signal for each request: hundreds that wait at once would be too many listeners on a shared one.
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
      // A subscribed connection that is never written to would not notice that its link is dead.
      const stopPinging = startPinging(client, this.#clock, this.#options.pingMs);
      const cancelAlarm = this.#clock.schedule(
        () =>
          this.#log.fault(
            "lease",
            "the lease of %s is overdue: held for %s ms",
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
   * Adds one to the counter at `key` and sets its time to live, in one atomic step; answers the count.
   * `key` is used as given. One whose answer is lost with its connection is sent again, and then counted
   * twice. Rejects with `CONFIG` for a bad argument, or with a fault of Redis.
   */
  async incrementWithTtl(key: string, ttlSeconds = 3600): Promise<number> {
    if (typeof key !== "string" || key === "") throw new ConfigError("expected key as a non-empty string");
    readWholeNumber("ttlSeconds", ttlSeconds, 1);
    try {
      return await incrementWithTtl(this.commands, [key], [ttlSeconds]);
    } catch (error) {
      throw sanitize(error);
    }
  }

  /** The pool at this moment. */
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

  /** The connections by role, to be held against the server's own account. @internal */
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

  /** Whether commands would be sent at once, as far as can be told without sending one. */
  get ready(): boolean {
    return this.#commands !== null && isReady(this.#commands);
  }

  /** Ends all connections: those who wait are refused, leases are dropped, the shared ones say goodbye. */
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
 * A shared connection is there for long: that it is just connected is seen no second time. A Cluster client has one to each node that
 * it has sent a command to.
 */
function countShared(client: RedisClient | null): ConnectionCensus {
  if (client !== null && "nodes" in client) {
    const nodes = client.nodes();
    return { made: nodes.length, ready: nodes.filter(isReady).length };
  }
  return { made: client === null ? 0 : 1, ready: client !== null && isReady(client) ? 1 : 0 };
}

/** ioredis' connect() says only that the connection is closed; why is in the `error` event before. */
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

/** One connection, held alone until it is released. */
export class Lease {
  /** Who holds it, in words for an operator. */
  readonly holder: string;
  /** Since when, by the clock that is never set. */
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

  /** Behind an accessor, so that printing a lease does not print the options of its connection. */
  get client(): RedisClient {
    return this.#client;
  }

  /** Drops the connection and gives the place back to the pool: once, however often it is called. */
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
