import { printable } from "../../log.js";
import { MAX_MESSAGE } from "../task.js";

/** Warns on the console of mistakes in the handlers of one worker, once for each kind of mistake. */
export class WorkerWarnings {
  readonly #queue: string;
  #hasWarnedOfProgress = false;
  #hasWarnedOfLateness = false;

  constructor(queue: string) {
    this.#queue = queue;
  }

  /** The timer that renews leases came so much too late. */
  late(lateMs: number, leaseMs: number): void {
    if (this.#hasWarnedOfLateness) return;
    this.#hasWarnedOfLateness = true;
    console.warn(
      "redis-sse: a worker of queue %s was %d ms late to renew its leases, which last %d ms. A handler or other code of " +
        "this process blocked the event loop. If a lease runs out, another worker begins the task again. Run CPU work " +
        "in a worker thread. This worker prints the warning once.",
      this.#queue,
      Math.round(lateMs),
      leaseMs,
    );
  }

  /** `what` is the value that was out of range. */
  progress(kind: string, what: string): void {
    if (this.#hasWarnedOfProgress) return;
    this.#hasWarnedOfProgress = true;
    console.warn(
      "redis-sse: a handler of queue %s, for tasks of kind %s, called progress() with %s. The value is limited: " +
        "progress to 0 to 100, a message to %d characters. NaN keeps the progress before it. " +
        "This worker prints the warning once.",
      this.#queue,
      printable(kind),
      what,
      MAX_MESSAGE,
    );
  }
}
