import type { Clock } from "../clock.js";
import type { ServiceLog } from "../logger.js";
import type { QueueSettings } from "./queue-options.js";
import type { QueueCounter } from "./queue-statistics.js";
import type { QueueStore } from "./queue-store.js";
import type { Schedules } from "./schedules.js";
import { claimTasks } from "./scripts/claim.js";
import { readTask } from "./scripts/read.js";
import { reportTask, type ReportReply } from "./scripts/report.js";
import { renewLeases, settleTasks } from "./scripts/settle.js";
import { WorkerGroup } from "./worker/worker-group.js";
import type { TaskReport, WorkerPort } from "./worker/worker-port.js";

export interface QueuePortOptions {
  readonly name: string;
  readonly store: QueueStore;
  readonly settings: QueueSettings;
  readonly schedules: Schedules;
  readonly counter: QueueCounter;
  readonly clock: Clock;
  readonly log: ServiceLog;
  readonly subscribe: (channel: string, onMessage: (text: string | null) => void) => () => void;
  readonly maxBytes: number;
}

const LOST = "its worker was lost";

/** Creates the interface through which the workers of a queue call its scripts. */
export function createWorkerPort(options: QueuePortOptions): WorkerPort {
  const { name, store, settings, schedules, counter, clock, log, subscribe, maxBytes } = options;
  const { attempts, deadLetterTtlMs, rateLimit } = settings;
  const limit = [rateLimit?.max ?? "", rateLimit?.intervalMs ?? ""];
  const onWake: WorkerPort["onWake"] = (listener) =>
    subscribe(store.wake, (text) => listener(cancelledId(text), text === null));
  return {
    clock,
    queue: name,
    settings,
    maxBytes,
    onWake,
    group: new WorkerGroup(clock, onWake),
    claim: (want, leaseMs, worker, call) =>
      store.run(claimTasks, [leaseMs, want, call, attempts, deadLetterTtlMs, LOST, ...limit, worker]),
    fire: (schedule, now) => schedules.fire(schedule, now),
    renew: (leases, leaseMs) => {
      const pairs = leases.flatMap(({ task, token }) => [task.id, token]);
      return store.run(renewLeases, [leaseMs, ...pairs]);
    },
    readError: async (taskId) => (await store.run(readTask, [taskId]))?.fields.get("error") ?? "",
    report: ({ task, token }, report) => sendReport(store, task.id, token, report),
    settle: (entries) => {
      const args: (string | number)[] = [];
      let before = "";
      let countAt = 0;
      for (const { lease, outcome } of entries) {
        const { verdict, progress, message, content, delayMs, ttlMs } = outcome;
        // Most tasks of a batch have the same outcome, so each outcome is sent once for all of them.
        const head = `${lease.token}\n${verdict}\n${progress}\n${delayMs}\n${ttlMs}\n${message}`;
        if (head !== before) countAt = args.push(head, 0) - 1;
        args[countAt] = (args[countAt] as number) + 1;
        args.push(lease.task.id, content);
        before = head;
      }
      return store.run(settleTasks, args);
    },
    count: (event) => counter.count(event),
    countFault: (code) => counter.countFault(code),
    log,
  };
}

/** Stores and publishes a report of a task. `token` is empty for code outside a worker. */
export function sendReport(
  store: QueueStore,
  taskId: string,
  token: string,
  { number, progress, message, data, output }: TaskReport,
): Promise<ReportReply> {
  const events = output.flatMap((event) => [event.name, event.data]);
  return store.run(reportTask, [taskId, token, number, progress ?? "", message, data, ...events]);
}

function cancelledId(text: string | null): string | null {
  return text?.startsWith("cancel ") ? text.slice("cancel ".length) : null;
}
