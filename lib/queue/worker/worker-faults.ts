import { monotonicNow, type Clock } from "../../clock.js";
import type { RedisSseError } from "../../errors.js";
import { createLog } from "../../log.js";
import { ignoreRejection, nameOfThrown } from "../../thrown.js";

export type OnFault = (error: RedisSseError) => void;

const log = createLog("worker");

/** A fault of the same code and message is told again after this time. */
const PERIOD_MS = 60_000;

/** Tells of faults, each code and message at most once a minute. */
export class FaultTeller {
  readonly #clock: Clock;
  readonly #onFault: OnFault;
  /** By code and message: both are the library's own texts, so there are few. */
  readonly #toldAt = new Map<string, number>();

  constructor(clock: Clock, onFault: OnFault) {
    this.#clock = clock;
    this.#onFault = onFault;
  }

  /** Never throws. */
  tell(fault: RedisSseError): void {
    const key = `${fault.code} ${fault.message}`;
    const now = monotonicNow(this.#clock);
    const last = this.#toldAt.get(key);
    if (last !== undefined && now - last < PERIOD_MS) return;
    this.#toldAt.set(key, now);
    // It may be async, and must not end the process.
    const told = (async () => this.#onFault(fault))();
    told.catch((error: unknown) => {
      ignoreRejection(error);
      log("onFault threw: %s", nameOfThrown(error));
    });
  }
}

/** Prints the faults of all workers of one queue that have no `onFault`. */
export function createFaultPrinter(clock: Clock, queue: string): FaultTeller {
  return new FaultTeller(clock, ({ code, message }) =>
    console.warn(
      "redis-sse: the workers of queue %s cannot use Redis: %s (%s). They try again. " +
        "The same fault is printed at most once a minute.",
      queue,
      message,
      code,
    ),
  );
}
