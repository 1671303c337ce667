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

/** Tasks taken at once: two halves of a worker's tasks are under way in turn, one here and one in Redis. */
const MAX_CLAIM = 100;
/** How long a worker that stops waits for Redis to take its tasks back. */
const GIVE_BACK_MS = 1_000;
/** After a fault of Redis, before the next try. */
const FAULT_PAUSE_MS = 500;

/**
 * Takes tasks from a queue and runs them. It learns of new ones over pub/sub, and looks by itself every
 * `pollMs` for what it was not told of: no connection blocks for it, and no lost message stops it.
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
  /** By the task's id. */
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
  /** Handlers under way. */
  #active = 0;
  /** Outcomes that are being stored. */
  #storing = 0;
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;
  readonly #onStopped: () => void;
  readonly #unlink: () => void;
  #stopped: Promise<void> | null = null;
  #claims = 0;
  /** When something may be due, as far as the last answer said: at most `pollMs` after it. */
  #lookAt = -Infinity;
  /** Something happened since the loop last looked: it does not wait. */
  #woken = false;
  /** The queue had less than was asked for: an end of a task alone is no reason to look again. */
  #drained = false;
  #wake: () => void = () => {};
  #onIdle: () => void = () => {};

  /** Made by `QueueService.worker()`. Throws `ConfigError`. */
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

  /** How many tasks are under way. */
  get running(): number {
    return this.#runs.size;
  }

  /**
   * Takes no more tasks, lets those under way end, gives the rest back. The first call's options count. Throws
   * `ConfigError`.
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
    // Their order is that of their places in line.
    const back = Promise.all([this.#loop, ...Array.from(this.#runs.values(), (run) => run.giveBack())]);
    // Without an answer from Redis the leases run out by themselves.
    await withDeadline(back, {
      clock: this.#port.clock,
      timeoutMs: GIVE_BACK_MS,
      what: "the tasks' return",
    }).catch((error: unknown) => log("stopped without an answer: %s", sanitize(error).message));
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

  /** Never rejects. */
  async #run(): Promise<void> {
    this.#port.group.join(this.#member);
    try {
      while (!this.#stopping.signal.aborted) {
        this.#woken = false;
        const free = this.#free;
        const pauseMs = free > 0 ? await this.#takeAll(free) : await this.#tend();
        if (pauseMs > 0) await this.#pause(pauseMs);
        // Another worker of the group may have looked meanwhile.
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
   * Takes tasks as long as there are any, and there is room; answers how long to pause before the next look. The next are
   * asked for before those that have come are begun, so that Redis and the handlers work at the same time.
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
   * Looks at the queue without room for a task: due schedules and lost leases must not wait for the end of a long task. One look is
   * enough for all workers of the group. Answers how long to pause.
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
   * How many tasks may be begun. One whose handler has ended makes room for the next while its outcome is stored; where that takes
   * long, at most twice `concurrency` wait for it, and no handler runs.
   */
  get #free(): number {
    return this.#concurrency - this.#active - Math.max(0, this.#storing - this.#concurrency);
  }

  /** Never rejects; answers `null` where Redis has not taken the call. */
  async #claim(free: number): Promise<ClaimReply | null> {
    const want = Math.min(free, Math.ceil(this.#concurrency / 2), MAX_CLAIM);
    const { group, clock } = this.#port;
    const begunAt = monotonicNow(clock);
    group.look(this.#member, want > 0);
    try {
      // The same again until it is answered: what it has taken then is answered, and need not wait for its lease to run out.
      const call = want > 0 ? `${this.#name}${this.#claims}` : this.#name;
      const claimed = await this.#port.claim(want, this.#leaseMs, this.#name, call);
      if (want > 0) this.#claims++;
      // An answer with due schedules says nothing of when the next is due: there may be more.
      const waitMs = claimed.schedules.length > 0 ? 1 : Math.max(claimed.waitMs, 1);
      this.#lookAt = begunAt + Math.min(waitMs, this.#pollMs);
      if (want > 0) this.#drained = claimed.tasks.length < want;
      group.looked(this.#member, want === 0 ? "none" : this.#drained ? "fewer" : "all", begunAt);
      return claimed;
    } catch (error) {
      this.#lookAt = begunAt + this.#pollMs;
      group.looked(this.#member, "fault", begunAt);
      log("cannot take a task: %s", sanitize(error).message);
      return null;
    }
  }

  /** Never rejects. False: Redis does not take it now, and what was due is due still. */
  async #fire(schedules: readonly DueSchedule[], now: number): Promise<boolean> {
    try {
      for (const schedule of schedules) await this.#port.fire(schedule, now);
      return true;
    } catch (error) {
      log("cannot put a scheduled task in line: %s", sanitize(error).message);
      return false;
    }
  }

  #begin(lease: TaskLease): void {
    const run = new TaskAttempt(this.#port, this.#outcomes, lease, this.#handling, this.#owner);
    // One that this very worker has lost meanwhile hears of it from nobody else.
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
    // One that was lost may have been taken again, by this very worker.
    if (this.#runs.get(id) === run) this.#runs.delete(id);
    if (!this.#drained) this.#notify();
    if (this.#runs.size > 0) return;
    this.#renewal.pause();
    this.#onIdle();
  }

  /** Never rejects: while Redis does not take them back, it is tried again until the worker has stopped. */
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
    // Once for each batch of tasks: an abort would make an error each time.
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

  /** Somebody waits for it to look, or to end. */
  get #isWanted(): boolean {
    return this.#woken || this.#stopping.signal.aborted;
  }

  #notify(): void {
    this.#woken = true;
    this.#wake();
  }
}
