import type { QueueCounts, QueueStatistics } from "../queue/queue-statistics.js";
import { assertOptions } from "../validate.js";
import { auditConnections, type DriftReport, type DriftSource } from "./connection-audit.js";
import { readNodes, type ServerInfo } from "./nodes.js";
import type { StatusOptions, StatusReport } from "./status-report.js";

const STATUS_OPTIONS: ReadonlySet<string> = new Set<keyof StatusOptions>(["drift"]);

/** The part of a status report that needs no call of Redis. */
export type LocalStatus = Omit<StatusReport, "redis" | "nodes" | "drift" | "queues"> & {
  readonly queues: readonly QueueStatistics[];
};

export interface StatusServiceOptions extends Omit<DriftSource, "connectedClients"> {
  readonly local: () => LocalStatus;
  /** Reads the counts of the queues of `local()`, in the same order. */
  readonly countTasks: () => Promise<readonly (QueueCounts | null)[]>;
}

/** Creates status reports from the state of the service and from the answers of Redis. */
export class StatusService {
  readonly #options: StatusServiceOptions;
  /** The running check for drift. Calls at the same time share it. */
  #looking: Promise<DriftReport | null> | null = null;

  constructor(options: StatusServiceOptions) {
    this.#options = options;
  }

  async report(options: StatusOptions = {}): Promise<StatusReport> {
    assertOptions("status()", options, STATUS_OPTIONS);
    const { drift: wanted = true } = options;
    const { commands, local, signal } = this.#options;
    const closed: ServerInfo = { fault: "CLOSED" };
    const { redis, nodes } = signal.aborted ? { redis: closed, nodes: [] } : await readNodes(commands);
    const asked = wanted && redis.fault === undefined && !signal.aborted;
    const drift = asked ? await this.#look(redis.connectedClients) : null;
    const isThere = redis.fault === undefined && !signal.aborted;
    const counts = isThere ? await this.#options.countTasks() : [];
    const status = local();
    const queues = status.queues.map((queue, index) => ({ ...queue, counts: counts[index] ?? null }));
    return { ...status, queues, redis, nodes, drift };
  }

  #look(connectedClients: number | null): Promise<DriftReport | null> {
    this.#looking ??= auditConnections({ ...this.#options, connectedClients }).finally(
      () => (this.#looking = null),
    );
    return this.#looking;
  }
}
