import type { DriftReport } from "./connection-audit.js";
import type { NodeStatus, ServerInfo } from "./nodes.js";
import type { GapReason } from "../events/gap.js";
import type { RuleName } from "../sync-callback.js";
import type { NotificationStatistics } from "../notifications/notification-service.js";
import type { RegistryStatistics } from "../sessions/session-registry.js";
import type { HubStatistics } from "../subscriptions/subscription-hub.js";
import type { QueueCounts, QueueStatistics } from "../queue/queue-statistics.js";
import type { RevocationStatistics } from "../rights/new-stream-check.js";
import type { PoolStatistics } from "../redis/connection-pool.js";

/** Counters for the history of channels, since the service was created. */
export interface HistoryStatistics {
  /** Number of reads in Redis. */
  readonly reads: number;
  /** Number of reads that were not needed, because streams shared the read of another stream. */
  readonly shared: number;
  /**
   * `gap` events by reason, counted for each channel of each client. It has only reasons that have occurred.
   *
   * If a rule fails for an event, the `gap` event for it is not counted here. See `rules`.
   */
  readonly gaps: Readonly<Partial<Record<GapReason, number>>>;
}

/** Events that are buffered for slow clients. */
export interface BufferStatistics {
  /** Buffered bytes of all streams together. An event that is buffered for several streams counts for each of them. */
  readonly bytes: number;
  /** How often a stream was closed or trimmed, because all buffers together exceeded `limits.maxTotalBufferedBytes`. */
  readonly exceeded: number;
  /**
   * Number of events that `slowConsumer` has dropped. The client of a dropped event gets a `gap` event when it reads
   * again.
   *
   * If a stream ends with `slow-consumer`, its buffered events are not counted: the client gets them from history when
   * it reconnects. `sessions.closed` counts these streams.
   */
  readonly dropped: number;
}

/** Counters for the rules of streams: `filter`, `transform`, `until` and `latestBy`. */
export interface RuleStatistics {
  /**
   * How often each rule threw or returned an invalid value. It has only rules that have failed.
   *
   * If `filter` or `transform` fails for an event, the client gets a `gap` event (`invalid`) instead.
   */
  readonly failed: Readonly<Partial<Record<RuleName, number>>>;
}

/** Counters of a queue in this process, and its counts in Redis. */
export interface QueueStatus extends QueueStatistics {
  /** The counts in Redis. `null` if Redis did not return them. */
  readonly counts: QueueCounts | null;
}

/**
 * State of a service at one moment.
 *
 * Show it only to operators: it contains channel names, and these can contain ids of users.
 */
export interface StatusReport {
  /** Name of this service. In `CLIENT LIST`, its connections have the name `redis-sse:<role>:<instance>`. */
  readonly instance: string;
  /** `draining` after a call of `drain()`, `closed` after a call of `close()`. */
  readonly state: "open" | "draining" | "closed";
  /** The option `subscriptions`. */
  readonly subscriptions: "shared" | "dedicated";
  /** The Redis connections. */
  readonly pool: PoolStatistics;
  /** The shared subscriber connection. */
  readonly hub: HubStatistics;
  /** The streams. */
  readonly sessions: RegistryStatistics;
  /** Reads of history, and gaps. */
  readonly history: HistoryStatistics;
  /** Events that are buffered for slow clients. */
  readonly buffers: BufferStatistics;
  /** Failures of the rules of streams. */
  readonly rules: RuleStatistics;
  /** Revocations of `revoke()`, of all processes. */
  readonly revocations: RevocationStatistics;
  /** The channels to which streams of this process are subscribed. */
  readonly channels: readonly string[];
  /** The queues that this process uses. */
  readonly queues: readonly QueueStatus[];
  /** Damaged notifications that `notifications.list()` of this process left out. */
  readonly notifications: NotificationStatistics;
  /** Sums over all Redis servers. */
  readonly redis: ServerInfo;
  /** The server, or each node of a cluster. Empty if no node is known. */
  readonly nodes: readonly NodeStatus[];
  /**
   * Compares the service's count of its connections and subscriptions with the server's count.
   *
   * It is `null` if you pass `drift: false`, if Redis is unavailable, or for ioredis-mock. A part of it is `null` if an
   * ACL rule denies CLIENT, PUBSUB or INFO, or if the server has more than 2,000 clients.
   */
  readonly drift: DriftReport | null;
}

/** Options of `status()`. */
export interface StatusOptions {
  /**
   * `true`: compare the connections and subscriptions of the service with `CLIENT LIST` and `PUBSUB NUMSUB` of the
   * server.
   *
   * If they differ, the service checks them again after 250 ms.
   *
   * @defaultValue true
   */
  readonly drift?: boolean | undefined;
}
