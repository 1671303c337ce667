import type { StatusReport } from "../lib/index.js";

/** The most channel names in one report. `active_channels` counts all. */
const MAX_CHANNELS = 1_000;

/** The JSON body of `redisPoolStatus()`. All durations are in milliseconds. */
export interface PoolReport {
  /** Whether Redis answered. */
  readonly success: boolean;
  /** The state of the service. */
  readonly data: {
    /** Leased Redis connections. */
    readonly pool: {
      /** The option `pool.maxConnections`. */
      readonly max_connections: number;
      /** Connections that can be leased now. */
      readonly available_connections: number;
      /** Connections that are leased now. */
      readonly in_use_connections: number;
      /** Requests that wait for a lease. */
      readonly waiting: number;
      /** Leases that are held for `pool.leaseAlarmMs` or longer. */
      readonly overdue: number;
      /** Connections by role. A connection counts from its creation until it has ended. */
      readonly connections: StatusReport["pool"]["connections"];
    };
    /** `null` if Redis did not answer. `error.code` gives the reason. */
    readonly redis_server: {
      /** Clients of all Redis servers. `null` if no server reports it. */
      readonly connected_clients: number | null;
      /** `maxclients`: the number of clients at which the server refuses new ones. */
      readonly max_clients: number | null;
    } | null;
    /** Channels to which streams of this process are subscribed. */
    readonly pubsub: {
      /** Number of all channels. */
      readonly active_channels: number;
      /** The first 1,000 channels. */
      readonly channels: readonly string[];
    };
    /** The streams of this process. */
    readonly sessions: StatusReport["sessions"];
    /** The name of this service in the names of its Redis connections. */
    readonly instance: string;
    /** Leaked connections and lost subscriptions. A value is `null` if it is unknown. */
    readonly drift: StatusReport["drift"];
  };
  /** Why Redis did not answer. */
  readonly error?: {
    /** The error code. */
    readonly code: string;
  };
}

/** Creates the body from the status of the service. */
export function createPoolReport(status: StatusReport): PoolReport {
  const { pool, channels, sessions, redis, instance, drift } = status;
  return {
    success: redis.fault === undefined,
    data: {
      pool: {
        max_connections: pool.maxConnections,
        available_connections: pool.available,
        in_use_connections: pool.inUse,
        waiting: pool.waiting,
        overdue: pool.overdue,
        connections: pool.connections,
      },
      redis_server:
        redis.fault === undefined
          ? { connected_clients: redis.connectedClients, max_clients: redis.maxClients }
          : null,
      pubsub: { active_channels: channels.length, channels: channels.slice(0, MAX_CHANNELS) },
      sessions,
      instance,
      drift,
    },
    ...(redis.fault !== undefined && { error: { code: redis.fault } }),
  };
}
