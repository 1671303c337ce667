import { monotonicNow, type Clock } from "../clock.js";

export interface Ticking {
  /** `now` is `monotonicNow()`. */
  tick(now: number): void;
}

const SLOTS = 10;

/**
 * One timer for the deadlines of all sessions. It ticks each member once per period. Members are spread over the slots of
 * the period, so that thousands of idle streams do not run in one event-loop turn. The timer runs only while it has members.
 */
export class Ticker {
  readonly #clock: Clock;
  readonly #slotMs: number;
  readonly #slots: readonly Set<Ticking>[] = Array.from({ length: SLOTS }, () => new Set<Ticking>());
  #nextSlot = 0;
  #current = 0;
  #size = 0;
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, periodMs: number) {
    this.#clock = clock;
    this.#slotMs = Math.max(1, periodMs / SLOTS);
  }

  add(member: Ticking): void {
    this.#slots[this.#nextSlot]!.add(member);
    this.#nextSlot = (this.#nextSlot + 1) % SLOTS;
    this.#size++;
    this.#cancel ??= this.#schedule();
  }

  /** Does nothing if `member` was not added. */
  remove(member: Ticking): void {
    if (!this.#slots.some((slot) => slot.delete(member)) || --this.#size > 0) return;
    this.#cancel?.();
    this.#cancel = null;
  }

  #schedule(): () => void {
    return this.#clock.schedule(() => {
      this.#cancel = this.#schedule();
      this.#current = (this.#current + 1) % SLOTS;
      const now = monotonicNow(this.#clock);
      for (const member of this.#slots[this.#current]!) member.tick(now);
    }, this.#slotMs);
  }
}

/** Returns a function that creates tickers. Sessions that need the same precision share one ticker. */
export function shareTickers(clock: Clock, maxStallMs: number): (heartbeatMs: number) => Ticker {
  const tickers = new Map<number, Ticker>();
  return (heartbeatMs) => {
    const periodMs = Math.max(10, Math.min(1_000, Math.min(heartbeatMs, maxStallMs) / 4));
    const ticker = tickers.get(periodMs) ?? new Ticker(clock, periodMs);
    tickers.set(periodMs, ticker);
    return ticker;
  };
}
