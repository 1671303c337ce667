import { monotonicNow, type Clock } from "../../clock.js";

/**
 * Calls `listener` for each message to the workers of a queue. Returns a function that stops this.
 *
 * `cancelled` is the id of a cancelled task. It is `null` if a task may be ready. `missed` is true if messages may have
 * been lost.
 */
export type OnWake = (listener: (cancelled: string | null, missed: boolean) => void) => () => void;

/** A worker of a `WorkerGroup`. */
export interface GroupMember {
  /** Tasks may be ready: the worker looks at the queue as soon as it can start a task. */
  notify(): void;
  /** A task was cancelled. */
  onCancelled(taskId: string): void;
  /** Messages may have been lost. */
  onMissed(): void;
}

/**
 * The workers of one queue in this process. It keeps the number of looks at the queue small.
 *
 * A message that tasks may be ready wakes only one idle worker. If that worker gets as many tasks as it asked for, it
 * wakes others, and more of them each time. So one new task causes at most three looks, even with many idle workers.
 * Many new tasks wake all workers after a few looks.
 *
 * At least one idle worker has looked since the last message, and knows when the next delayed task is due. If that
 * worker takes a task or stops, it wakes another one.
 */
export class WorkerGroup {
  readonly #clock: Clock;
  readonly #onWake: OnWake;
  readonly #members = new Set<GroupMember>();
  /** Workers that wait, and can start a task. */
  readonly #idle = new Set<GroupMember>();
  /** Workers that were woken, and have not asked Redis yet. */
  readonly #woken = new Set<GroupMember>();
  /** Workers that asked Redis for tasks, and wait for the answer. */
  readonly #looking = new Set<GroupMember>();
  /** Busy workers that asked Redis for no task, only for due work and expired leases, and wait for the answer. */
  readonly #tending = new Set<GroupMember>();
  /** Number of consecutive looks that got as many tasks as they asked for. */
  #streak = 0;
  #lookedAt = -Infinity;
  #answeredAt = -Infinity;
  #unlisten: (() => void) | null = null;

  constructor(clock: Clock, onWake: OnWake) {
    this.#clock = clock;
    this.#onWake = onWake;
  }

  join(member: GroupMember): void {
    this.#members.add(member);
    this.#unlisten ??= this.#onWake((cancelled, missed) => {
      if (missed) for (const each of this.#members) each.onMissed();
      if (cancelled === null) this.#ring();
      else for (const each of this.#members) each.onCancelled(cancelled);
    });
  }

  /**
   * Removes a worker, and wakes another one. The removed worker may have been woken for a task, and perhaps only this
   * worker knew the next due time.
   */
  leave(member: GroupMember): void {
    for (const set of [this.#members, this.#idle, this.#woken, this.#looking, this.#tending])
      set.delete(member);
    if (this.#members.size > 0) return this.#ring();
    this.#unlisten?.();
    this.#unlisten = null;
  }

  /** The worker waits. If it has no room for a task, it is not woken. */
  wait(member: GroupMember, hasRoom: boolean): void {
    this.#woken.delete(member);
    if (hasRoom) this.#idle.add(member);
  }

  /** The worker stops waiting. */
  resume(member: GroupMember): void {
    this.#idle.delete(member);
  }

  /** The worker asks Redis for tasks. Without room it asks only for due work and expired leases. */
  look(member: GroupMember, hasRoom: boolean): void {
    this.#woken.delete(member);
    (hasRoom ? this.#looking : this.#tending).add(member);
  }

  /** Start time of the last look of any kind that Redis has answered. */
  get answeredAt(): number {
    return this.#answeredAt;
  }

  get isLooking(): boolean {
    return this.#looking.size + this.#tending.size > 0;
  }

  /**
   * A look has ended.
   *
   * `found` is "all" if the worker got as many tasks as it asked for, otherwise "fewer". It is "none" if the worker
   * asked for no task, and "fault" if the call failed.
   */
  looked(member: GroupMember, found: "all" | "fewer" | "none" | "fault", begunAt: number): void {
    this.#looking.delete(member);
    this.#tending.delete(member);
    if (found !== "fault") this.#answeredAt = Math.max(this.#answeredAt, begunAt);
    if (found === "fewer") {
      this.#streak = 0;
      this.#lookedAt = Math.max(this.#lookedAt, begunAt);
    }
    if (found === "all") this.#wake((++this.#streak) ** 2 - this.#woken.size);
  }

  /**
   * How long a worker that looks every `pollMs` can still wait, because another worker looks now or looked a moment
   * ago.
   */
  restMs(pollMs: number): number {
    if (this.#woken.size + this.#looking.size > 0) return pollMs;
    return this.#lookedAt + pollMs - monotonicNow(this.#clock);
  }

  /** Tasks may be ready: makes sure that a worker looks. */
  #ring(): void {
    // A woken worker will look soon, and will find them.
    if (this.#woken.size > 0) return;
    if (this.#idle.size > 0) this.#wake(1);
    // Redis may have answered a running look before the tasks were ready.
    else for (const member of this.#members) member.notify();
  }

  #wake(count: number): void {
    let left = count;
    for (const member of this.#idle) {
      if (left-- <= 0) return;
      this.#idle.delete(member);
      this.#woken.add(member);
      member.notify();
    }
  }
}
