import { randomBytes } from "node:crypto";

import { monotonicNow } from "../../clock.js";
import { delay, withDeadline } from "../../deadline.js";
import { sanitize } from "../../errors.js";
import { createLog } from "../../log.js";
import { LeaseRenewal } from "./lease-renewal.js";
import type { ClaimReply, DueSchedule } from "../scripts/claim.js";
import { OutcomeBatcher } from "./outcome-batcher.js";
import { readHandler, type TaskHandler, type TaskHandlers } from "./task-handlers.js";
import { readLease, type TaskLease } from "./task-lease.js";
import type { AnyTasks } from "../task-map.js";
import { TaskAttempt, type TaskHandling, type TaskRunOwner } from "./task-attempt.js";
import {
  readStopOptions,
  readWorkerOptions,
  type StopOptions,
  type WorkerOptions,
} from "./worker-options.js";
import { errorsInLog, faultsInLog, faultsTo } from "./worker-faults.js";
import type { GroupMember } from "./worker-group.js";
import { withFaults, type WorkerPort } from "./worker-port.js";

const log = createLog("worker");

/** Maximum number of tasks that one call takes. */
const MAX_CLAIM = 100;
/** How long a stopping worker waits for Redis to take its tasks back. */
const GIVE_BACK_MS = 1_000;
/** Pause after a failed call of Redis. */
const FAULT_PAUSE_MS = 500;

/**
 * Takes tasks from a queue and runs them.
 *
 * It learns of new tasks from pub/sub messages, so it needs no blocking connection. It also looks at the queue every
 * `pollMs`, so a lost message only delays a task.
 */
export class Worker {
  readonly #port: WorkerPort;
  readonly #handling: TaskHandling;
  readonly #concurrency: number;
  readonly #leaseMs: number;
  readonly #pollMs: number;
  readonly #name = randomBytes(6).toString("base64url");
  readonly #outcomes: OutcomeBatcher;
  readonly #renewal: LeaseRenewal;
  /** Running attempts by task id. */
  readonly #runs = new Map<string, TaskAttempt>();
  readonly #owner: TaskRunOwner = {
    onDecided: () => this.#onDecided(),
    onDone: (run) => this.#onDone(run),
  };
  readonly #member: GroupMember = {
    notify: () => this.#notify(),
    onCancelled: (taskId) => this.#runs.get(taskId)?.cancel(),
    onMissed: () => this.#renewal.renewNow(),
  };
  /** Number of handlers that run. */
  #active = 0;
  /** Number of outcomes that are being stored. */
  #storing = 0;
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;
  readonly #onStopped: () => void;
  readonly #unlink: () => void;
  #stopped: Promise<void> | null = null;
  #claims = 0;
  /** When this worker must look again, according to the last answer. At most `pollMs` after that answer. */
  #lookAt = -Infinity;
  /** The worker was woken since its last look, so the loop must not wait. */
  #woken = false;
  /**
   * The last answer had fewer tasks than the worker asked for. So it does not look again only because a task has ended.
   */
  #drained = false;
  #wake: () => void = () => {};
  #onIdle: () => void = () => {};

  /** Use `QueueService.worker()` instead. Throws `ConfigError`. */
  constructor(
    given: WorkerPort,
    handler: TaskHandler | TaskHandlers<AnyTasks>,
    options: WorkerOptions,
    onStopped: () => void,
  ) {
    const { concurrency, leaseMs, pollMs, signal, onError, onFault } = readWorkerOptions(options);
    const { log } = given;
    const tell = onFault === undefined ? faultsInLog(log, given.queue) : faultsTo(onFault, given.clock);
    const port = withFaults(given, tell);
    this.#port = port;
    this.#handling = { handler: readHandler(handler), onError: onError ?? errorsInLog(log) };
    this.#concurrency = concurrency;
    this.#leaseMs = leaseMs;
    this.#pollMs = pollMs;
    this.#outcomes = new OutcomeBatcher(port);
    this.#renewal = new LeaseRenewal(port, leaseMs, this.#runs);
    this.#onStopped = onStopped;
    const onAbort = (): void => void this.stop();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#unlink = () => signal?.removeEventListener("abort", onAbort);
    this.#loop = this.#run();
    if (signal?.aborted) onAbort();
  }

  /** Number of tasks that run now. */
  get running(): number {
    return this.#runs.size;
  }

  /**
   * Stops the worker. It takes no more tasks, and waits for running tasks until `graceMs` have passed.
   *
   * Tasks that still run then go back to the queue. This does not count as an attempt. If you call it again, only the
   * options of the first call apply. Throws `ConfigError`.
   */
  stop(options: StopOptions = {}): Promise<void> {
    const settings = readStopOptions(options);
    return (this.#stopped ??= this.#stop(settings));
  }

  async #stop({ graceMs }: Required<StopOptions>): Promise<void> {
    this.#unlink();
    this.#stopping.abort();
    this.#notify();
    const graceOver = new AbortController();
    await Promise.race([
      Promise.all([this.#loop, this.#idle()]).finally(() => graceOver.abort()),
      delay(this.#port.clock, graceMs, graceOver.signal),
    ]);
    // The order of the calls does not matter: each task returns to its earlier place in the queue.
    const back = Promise.all([this.#loop, ...Array.from(this.#runs.values(), (run) => run.giveBack())]);
    // If Redis does not answer, the leases expire by themselves.
    await withDeadline(back, {
      clock: this.#port.clock,
      timeoutMs: GIVE_BACK_MS,
      what: "Redis to take the tasks back",
    }).catch((error: unknown) => log("stopped with running tasks: %s", sanitize(error).message));
    this.#outcomes.close();
    this.#runs.clear();
    this.#renewal.pause();
    log("stopped");
    this.#onStopped();
  }

  #idle(): Promise<void> {
    if (this.#runs.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#onIdle = resolve));
  }

  /** The loop of the worker: looks at the queue and waits. Never rejects. */
  async #run(): Promise<void> {
    this.#port.group.join(this.#member);
    try {
      while (!this.#stopping.signal.aborted) {
        this.#woken = false;
        const free = this.#free;
        const pauseMs = free > 0 ? await this.#takeAll(free) : await this.#tend();
        if (pauseMs > 0) await this.#pause(pauseMs);
        // Another worker of the group may have looked during the pause.
        for (let restMs = pauseMs; pauseMs === this.#pollMs && restMs > 0 && !this.#isWanted;) {
          restMs = this.#port.group.restMs(this.#pollMs);
          if (restMs > 0) await this.#pause(restMs);
        }
      }
    } finally {
      this.#port.group.leave(this.#member);
    }
  }

  /**
   * Takes tasks while the queue has tasks and this worker has room. Resolves to the pause before the next look.
   *
   * It asks Redis for the next tasks before it starts the received ones. So Redis and the handlers work at the same
   * time.
   */
  async #takeAll(free: number): Promise<number> {
    let asked: Promise<ClaimReply | null> | null = this.#claim(free);
    for (;;) {
      const claimed: ClaimReply | null = await asked;
      if (claimed === null) return Math.min(FAULT_PAUSE_MS, this.#pollMs);
      const { waitMs, now, schedules } = claimed;
      const leases: readonly TaskLease[] = claimed.tasks.map((task) =>
        readLease(task, this.#port.queue, this.#port.settings.attempts),
      );
      if (this.#stopping.signal.aborted) {
        await this.#giveBack(leases);
        return 0;
      }
      const left: number = this.#free - leases.length;
      asked = this.#drained || left <= 0 ? null : this.#claim(left);
      for (const lease of leases) this.#begin(lease);
      const isFired = await this.#fire(schedules, now);
      if (asked !== null) continue;
      if (!isFired) return Math.min(FAULT_PAUSE_MS, this.#pollMs);
      return this.#drained && schedules.length === 0 ? Math.min(Math.max(waitMs, 1), this.#pollMs) : 0;
    }
  }

  /**
   * Looks at the queue without room for a task, because due schedules and expired leases must not wait for the end of a
   * long task.
   *
   * One look is enough for all workers of the group. Resolves to the pause before the next look.
   */
  async #tend(): Promise<number> {
    const { group, clock } = this.#port;
    if (group.answeredAt >= this.#lookAt) this.#lookAt = group.answeredAt + this.#pollMs;
    const restMs = this.#lookAt - monotonicNow(clock);
    if (restMs > 0) return restMs;
    if (group.isLooking) return FAULT_PAUSE_MS;
    const claimed = await this.#claim(0);
    if (claimed === null || !(await this.#fire(claimed.schedules, claimed.now))) return this.#pollMs;
    return Math.max(this.#lookAt - monotonicNow(clock), 1);
  }

  /**
   * Number of tasks that can start now.
   *
   * While the outcome of a task is stored, the next task can already start. If Redis is slow, up to twice `concurrency`
   * outcomes can wait. Then no further task starts.
   */
  get #free(): number {
    return this.#concurrency - this.#active - Math.max(0, this.#storing - this.#concurrency);
  }

  /** Takes tasks. Resolves to `null` if the call failed. Never rejects. */
  async #claim(free: number): Promise<ClaimReply | null> {
    // At most half of the tasks: while they run, Redis answers the call for the other half.
    const want = Math.min(free, Math.ceil(this.#concurrency / 2), MAX_CLAIM);
    const { group, clock } = this.#port;
    const begunAt = monotonicNow(clock);
    group.look(this.#member, want > 0);
    try {
      // If the answer was lost, the next call has the same id. It gets the same tasks, so they do not wait until their
      // leases expire.
      const call = want > 0 ? `${this.#name}${this.#claims}` : this.#name;
      const claimed = await this.#port.claim(want, this.#leaseMs, this.#name, call);
      if (want > 0) this.#claims++;
      // If schedules are due, `waitMs` does not say when the next one is due. There may be more due schedules.
      const waitMs = claimed.schedules.length > 0 ? 1 : Math.max(claimed.waitMs, 1);
      this.#lookAt = begunAt + Math.min(waitMs, this.#pollMs);
      if (want > 0) this.#drained = claimed.tasks.length < want;
      group.looked(this.#member, want === 0 ? "none" : this.#drained ? "fewer" : "all", begunAt);
      return claimed;
    } catch (error) {
      this.#lookAt = begunAt + this.#pollMs;
      group.looked(this.#member, "fault", begunAt);
      log("cannot take tasks: %s", sanitize(error).message);
      return null;
    }
  }

  /**
   * Enqueues the tasks of due schedules. Resolves to `false` if a call failed: its schedule stays due. Never rejects.
   */
  async #fire(schedules: readonly DueSchedule[], now: number): Promise<boolean> {
    try {
      for (const schedule of schedules) await this.#port.fire(schedule, now);
      return true;
    } catch (error) {
      log("cannot enqueue a scheduled task: %s", sanitize(error).message);
      return false;
    }
  }

  #begin(lease: TaskLease): void {
    const run = new TaskAttempt(this.#port, this.#outcomes, lease, this.#handling, this.#owner);
    // If this worker lost the lease of the task and took the task again, only this call ends the earlier attempt.
    this.#runs.get(lease.task.id)?.lose();
    this.#runs.set(lease.task.id, run);
    this.#active++;
    this.#renewal.schedule();
    run.start();
  }

  #onDecided(): void {
    this.#active--;
    this.#storing++;
    if (!this.#drained) this.#notify();
  }

  #onDone(run: TaskAttempt): void {
    if (run.isDecided) this.#storing--;
    else this.#active--;
    const { id } = run.lease.task;
    // This worker may have taken the task again after its lease expired. Then the map has the new attempt.
    if (this.#runs.get(id) === run) this.#runs.delete(id);
    if (!this.#drained) this.#notify();
    if (this.#runs.size > 0) return;
    this.#renewal.pause();
    this.#onIdle();
  }

  /** Gives tasks back to the queue. If a call fails, it tries again until the worker has stopped. Never rejects. */
  async #giveBack(leases: readonly TaskLease[]): Promise<void> {
    await Promise.all(
      leases.map((lease) => {
        const { progress, message } = lease.task;
        const outcome = { verdict: "back", progress, message, content: "", delayMs: 0, ttlMs: 0 } as const;
        return this.#outcomes.settle(lease, outcome, () => true);
      }),
    );
  }

  async #pause(pauseMs: number): Promise<void> {
    if (this.#isWanted) return;
    const { group, clock } = this.#port;
    group.wait(this.#member, this.#free > 0);
    // The loop pauses after each batch of tasks. An `AbortController` would create an error object each time.
    await new Promise<void>((resolve) => {
      const cancel = clock.schedule(resolve, pauseMs);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = () => {};
    group.resume(this.#member);
  }

  /** Whether the loop must not wait: it must look again, or end. */
  get #isWanted(): boolean {
    return this.#woken || this.#stopping.signal.aborted;
  }

  #notify(): void {
    this.#woken = true;
    this.#wake();
  }
}
