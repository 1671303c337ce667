import { monotonicNow, type Clock } from "../../clock.js";

/** Calls back when a task may be ready, or, with its id, was cancelled, or such may have been missed; the answer ends it. */
export type OnWake = (listener: (cancelled: string | null, missed: boolean) => void) => () => void;

/** A worker, as its group sees it. */
export interface GroupMember {
  /** Looks at the queue as soon as it has room. */
  notify(): void;
  /** The task was cancelled. */
  onCancelled(taskId: string): void;
  /** Messages may have been missed. */
  onMissed(): void;
}

/**
 * The workers of one queue in this process. A message that tasks may be ready wakes one idle worker, not all: it wakes
 * others when it has taken all that it asked for, each time more of them. So one task costs at most three looks at the
 * queue, however many workers are idle, and many tasks wake all workers within a few looks.
 *
 * Of the idle workers, at least one has looked since the last message, and knows when the next delayed task is due: a
 * worker that takes a task, or stops, wakes another.
 */
export class WorkerGroup {
  readonly #clock: Clock;
  readonly #onWake: OnWake;
  readonly #members = new Set<GroupMember>();
  /** They wait, and have room. */
  readonly #idle = new Set<GroupMember>();
  /** They were woken, and have not asked Redis yet. */
  readonly #woken = new Set<GroupMember>();
  /** They wait for the answer of Redis. */
  readonly #looking = new Set<GroupMember>();
  /** They wait for the answer of Redis, and asked for no task. */
  readonly #tending = new Set<GroupMember>();
  /** Looks in a row that found all they asked for. */
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

  /** What the member was woken for, or knew of delayed tasks, is another's matter from now on. */
  leave(member: GroupMember): void {
    for (const set of [this.#members, this.#idle, this.#woken, this.#looking, this.#tending])
      set.delete(member);
    if (this.#members.size > 0) return this.#ring();
    this.#unlisten?.();
    this.#unlisten = null;
  }

  /** The member waits. Without room for a task it is not woken. */
  wait(member: GroupMember, hasRoom: boolean): void {
    this.#woken.delete(member);
    if (hasRoom) this.#idle.add(member);
  }

  /** The member does not wait any more. */
  resume(member: GroupMember): void {
    this.#idle.delete(member);
  }

  /** The member asks Redis for tasks, or only for what is due. */
  look(member: GroupMember, hasRoom: boolean): void {
    this.#woken.delete(member);
    (hasRoom ? this.#looking : this.#tending).add(member);
  }

  /** When the last look began that Redis has answered, whatever it asked for. */
  get answeredAt(): number {
    return this.#answeredAt;
  }

  get isLooking(): boolean {
    return this.#looking.size + this.#tending.size > 0;
  }

  /** Redis has answered, or not: `found` is "all" for as many tasks as the member asked for, "none" if it asked for none. */
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

  /** How long a member that looks every `pollMs` can wait still, because another one looks now or has just looked. */
  restMs(pollMs: number): number {
    if (this.#woken.size + this.#looking.size > 0) return pollMs;
    return this.#lookedAt + pollMs - monotonicNow(this.#clock);
  }

  /** Tasks may be ready. */
  #ring(): void {
    // A worker that is about to look sees them.
    if (this.#woken.size > 0) return;
    if (this.#idle.size > 0) this.#wake(1);
    // Some may have been answered already, or be about to wait.
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
