import type { ErrorCode } from "../../lib/catalogue/error-catalogue.js";
import { readQueueOptions, type QueueOptions, type QueueSettings } from "../../lib/queue/queue-options.js";
import type { ClaimedTask, ClaimReply, DueSchedule } from "../../lib/queue/scripts/claim.js";
import type { ReportReply } from "../../lib/queue/scripts/report.js";
import type { RenewReply } from "../../lib/queue/scripts/settle.js";
import type { TaskLease } from "../../lib/queue/worker/task-lease.js";
import { parseTask } from "../../lib/queue/task.js";
import type { QueueEvent, TaskOutcome, TaskReport, WorkerPort } from "../../lib/queue/worker/worker-port.js";
import { WorkerGroup } from "../../lib/queue/worker/worker-group.js";
import type { ServiceLog } from "../../lib/logger.js";
import { FakeClock } from "./fake-clock.js";
import { recordingLog } from "./recording-logger.js";

export const NOTHING: ClaimReply = { waitMs: 1e9, now: 0, schedules: [], tasks: [] };

export function claimedTask(id: string, more: Partial<ClaimedTask> = {}): ClaimedTask {
  return {
    id,
    token: `token of ${id}`,
    attempt: 1,
    attempts: null,
    createdAt: 0,
    startedAt: 0,
    priority: 0,
    progress: 0,
    kind: "kind",
    payload: "null",
    options: "",
    ...more,
  };
}

/** The answer to a poll that found these tasks. */
export function claimOf(...ids: string[]): ClaimReply {
  return { ...NOTHING, tasks: ids.map((id) => claimedTask(id)) };
}

/** A running attempt: the second of three attempts of task "a", at 30 percent. */
export function leaseOf(more: Partial<Pick<TaskLease, "attempts" | "settings">> = {}): TaskLease {
  const fields = { status: "running", attempt: "2", progress: "30", kind: "kind", queue: "q" };
  return {
    task: parseTask("a", new Map(Object.entries(fields))),
    token: "token",
    attempts: 3,
    settings: {},
    isBroken: false,
    ...more,
  };
}

/** A scripted queue. It records its calls. */
export class ScriptedPort implements WorkerPort {
  readonly clock: FakeClock = new FakeClock();
  readonly queue: string = "q";
  maxBytes = 1_000;
  readonly settings: QueueSettings;
  /** The next answers to `claim`. After them, the queue is empty. */
  readonly claims: (() => Promise<ClaimReply>)[] = [];
  /** Arguments of each poll. */
  readonly wanted: number[] = [];
  readonly calls: string[] = [];
  readonly listeners: Set<Parameters<WorkerPort["onWake"]>[0]> = new Set();
  readonly reports: TaskReport[] = [];
  readonly settled: (readonly [string, TaskOutcome])[] = [];
  readonly fired: string[] = [];
  readonly counted: QueueEvent[] = [];
  readonly group: WorkerGroup = new WorkerGroup(this.clock, (listener) => this.onWake(listener));
  readonly faults: ErrorCode[] = [];
  readonly #recorded = recordingLog(this.clock);
  readonly log: ServiceLog = this.#recorded.log;
  /** Lines written to the service's logger. */
  readonly lines: readonly string[] = this.#recorded.lines;
  renewed = 0;
  onRenew: () => Promise<RenewReply> = () => Promise.resolve("held");
  onReadError: () => Promise<string> = () => Promise.resolve("");
  onReport: (report: TaskReport) => Promise<ReportReply> = () => Promise.resolve("taken");
  onSettle: (outcome: TaskOutcome) => Promise<boolean> = () => Promise.resolve(true);
  onFire: (schedule: DueSchedule) => Promise<void> = () => Promise.resolve();

  constructor(options: QueueOptions = {}) {
    this.settings = readQueueOptions({ backoff: 1_000, ...options } as QueueOptions<never>);
  }

  get claimed(): number {
    return this.wanted.length;
  }

  get givenBack(): readonly string[] {
    return this.settled.filter(([, { verdict }]) => verdict === "back").map(([id]) => id);
  }

  get finishedIds(): readonly string[] {
    return this.settled.filter(([, { verdict }]) => verdict !== "back").map(([id]) => id);
  }

  onWake(listener: Parameters<WorkerPort["onWake"]>[0]): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async claim(want: number): Promise<ClaimReply> {
    this.wanted.push(want);
    return (await this.claims.shift()?.()) ?? NOTHING;
  }

  async fire(schedule: DueSchedule): Promise<void> {
    this.fired.push(schedule.name);
    await this.onFire(schedule);
  }

  async renew(leases: readonly TaskLease[]): Promise<readonly RenewReply[]> {
    this.renewed++;
    this.calls.push("renew");
    const reply = await this.onRenew();
    return leases.map(() => reply);
  }

  readError(): Promise<string> {
    return this.onReadError();
  }

  report(_: TaskLease, report: TaskReport): Promise<ReportReply> {
    this.calls.push("report");
    this.reports.push(report);
    return this.onReport(report);
  }

  async settle(entries: readonly { lease: TaskLease; outcome: TaskOutcome }[]): Promise<readonly boolean[]> {
    this.calls.push("settle");
    for (const { lease, outcome } of entries) this.settled.push([lease.task.id, outcome]);
    return Promise.all(entries.map(({ outcome }) => this.onSettle(outcome)));
  }

  count(event: QueueEvent): void {
    this.counted.push(event);
  }

  countFault(code: ErrorCode): void {
    this.faults.push(code);
  }

  give(...ids: string[]): void {
    for (const id of ids) this.claims.push(() => Promise.resolve(claimOf(id)));
  }

  wake(cancelled: string | null = null, missed = false): void {
    for (const listener of this.listeners) listener(cancelled, missed);
  }
}
