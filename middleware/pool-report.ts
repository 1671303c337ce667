import type { StatusReport } from "../lib/index.js";

/** The most channel names in one report. `active_channels` counts all. */
const MAX_CHANNELS = 1_000;

/** The JSON body of `redisPoolStatus()`. Milliseconds for all durations. */
export interface PoolReport {
  readonly success: boolean;
  readonly data: {
    readonly pool: {
      readonly max_connections: number;
      readonly available_connections: number;
      readonly in_use_connections: number;
      readonly waiting: number;
      /** Leases that are held for `pool.leaseAlarmMs` or longer. */
      readonly overdue: number;
      readonly connections: StatusReport["pool"]["connections"];
    };
    /** `null` when Redis gave no answer; `error.code` says why. */
    readonly redis_server: {
      readonly connected_clients: number | null;
      /** `maxclients`: with as many clients the server refuses further ones. */
      readonly max_clients: number | null;
    } | null;
    readonly pubsub: { readonly active_channels: number; readonly channels: readonly string[] };
    readonly sessions: StatusReport["sessions"];
    readonly instance: string;
    /** What leaks, or is deaf; `null` where it is not known. */
    readonly drift: StatusReport["drift"];
  };
  readonly error?: { readonly code: string };
}

/** The body for a status of the service. */
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
