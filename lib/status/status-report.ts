import type { DriftReport } from "./connection-audit.js";
import type { NodeStatus, ServerInfo } from "./nodes.js";
import type { GapReason } from "../events/gap.js";
import type { RuleName } from "../sync-callback.js";
import type { NotificationStatistics } from "../notifications/notification-service.js";
import type { RegistryStatistics } from "../sessions/session-registry.js";
import type { HubStatistics } from "../subscriptions/subscription-hub.js";
import type { QueueCounts, QueueStatistics } from "../queue/queue-statistics.js";
import type { PoolStatistics } from "../redis/connection-pool.js";

/** What was read of the logs, and what clients were told to be missing, since the service was made. */
export interface HistoryStatistics {
  /** Reads of Redis: pages of a log, and where one stands. */
  readonly reads: number;
  /** Reads that were spared, since another stream's was shared. */
  readonly shared: number;
  /**
   * `gap` events by reason, counted for each channel of each client; only the reasons that have occurred. Those that
   * stand for an event for which a rule failed are not among them: see `rules`.
   */
  readonly gaps: Readonly<Partial<Record<GapReason, number>>>;
}

/** What waits for clients that do not read as fast as they are written to. */
export interface BufferStatistics {
  /** Bytes, of all streams together; an event that waits for several counts for each. */
  readonly bytes: number;
  /** How often a stream had to give way, since more than `limits.maxTotalBufferedBytes` waited. */
  readonly exceeded: number;
  /**
   * Events that `slowConsumer` has dropped so far, counted as they are dropped: their clients are told once they read on.
   * What waits for a stream that ends as `slow-consumer` is not counted: history gives it to the client that comes
   * back, and `sessions.closed` has how many such streams there were.
   */
  readonly dropped: number;
}

/** What applications say of the events of their streams. */
export interface RuleStatistics {
  /**
   * How often each has thrown, or given an answer that is none; only those that have. An event for which `filter` or
   * `transform` failed is a `gap` (`invalid`) to its client.
   */
  readonly failed: Readonly<Partial<Record<RuleName, number>>>;
}

/** A queue as this process sees it, and as Redis counts it; `null` where that cannot be asked. */
export interface QueueStatus extends QueueStatistics {
  /** The counts in Redis. */
  readonly counts: QueueCounts | null;
}

/** A service at one moment. Holds channel names, which may hold users' ids: show it to operators only. */
export interface StatusReport {
  /** This service's name: its connections are `redis-sse:<role>:<instance>` in `CLIENT LIST`. */
  readonly instance: string;
  /** `draining` after `drain()` was called, `closed` after `close()` was called. */
  readonly state: "open" | "draining" | "closed";
  /** The option `subscriptions`. */
  readonly subscriptions: "shared" | "dedicated";
  /** The Redis connections. */
  readonly pool: PoolStatistics;
  /** The shared subscriber connection. */
  readonly hub: HubStatistics;
  /** The streams. */
  readonly sessions: RegistryStatistics;
  /** Reads of logs, and gaps. */
  readonly history: HistoryStatistics;
  /** Events that wait for clients. */
  readonly buffers: BufferStatistics;
  /** Failures of the rules of streams. */
  readonly rules: RuleStatistics;
  /** The channels that streams of this process listen to. */
  readonly channels: readonly string[];
  /** The queues that this process has used. */
  readonly queues: readonly QueueStatus[];
  /** What `notifications.list()` of this process has left out. */
  readonly notifications: NotificationStatistics;
  /** All Redis servers together. */
  readonly redis: ServerInfo;
  /** The server, or each node of a cluster; empty where none is known. */
  readonly nodes: readonly NodeStatus[];
  /**
   * What the service believes to hold beside what the server says; `null` where that was not asked for, or cannot
   * be asked: Redis is away, or is a mock. Its parts are `null` where the server does not tell them:
   * it refuses CLIENT, PUBSUB or INFO to this user, or has over 2,000 clients to list.
   */
  readonly drift: DriftReport | null;
}

/** Options of `status()`. */
export interface StatusOptions {
  /**
   * Whether to look for drift: `CLIENT LIST` and `PUBSUB NUMSUB`, and where they differ from what is expected a
   * second look after 250 ms. Default true.
   */
  readonly drift?: boolean | undefined;
}
