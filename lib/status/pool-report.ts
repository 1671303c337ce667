import type { StatusReport } from "./status-report.js";

/** The most channel names in one report; their number is always told. */
const MAX_CHANNELS = 1_000;

/** The debug endpoint's answer: the shape of the application this library comes from, and fields beside it. */
export interface PoolReport {
  readonly success: boolean;
  readonly data: {
    readonly pool: {
      readonly max_connections: number;
      readonly available_connections: number;
      readonly in_use_connections: number;
      readonly waiting: number;
      readonly connections: StatusReport["pool"]["connections"];
    };
    /** `null` when Redis gave no answer; `error.code` says why. */
    readonly redis_server: { readonly connected_clients: number | null } | null;
    readonly pubsub: { readonly active_channels: number; readonly channels: readonly string[] };
    readonly sessions: StatusReport["sessions"];
  };
  readonly error?: { readonly code: string };
}

export function createPoolReport({ pool, channels, sessions, redis }: StatusReport): PoolReport {
  return {
    success: redis.fault === undefined,
    data: {
      pool: {
        max_connections: pool.maxConnections,
        available_connections: pool.available,
        in_use_connections: pool.inUse,
        waiting: pool.waiting,
        connections: pool.connections,
      },
      redis_server: redis.fault === undefined ? { connected_clients: redis.connectedClients } : null,
      pubsub: { active_channels: channels.length, channels: channels.slice(0, MAX_CHANNELS) },
      sessions,
    },
    ...(redis.fault !== undefined && { error: { code: redis.fault } }),
  };
}
