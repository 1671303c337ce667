import { monotonicNow, type Clock } from "../../clock.js";
import { sanitize, type ErrorCode, type RedisSseError } from "../../errors.js";
import { createLog } from "../../log.js";
import { ignoreRejection, nameOfThrown } from "../../thrown.js";
import type { WorkerPort } from "./worker-port.js";

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

/** The queue as `port`, whose faults are counted and told before they are passed on. */
export function withFaults(port: WorkerPort, teller: FaultTeller): WorkerPort {
  const watch = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      const fault = sanitize(error);
      if (!ENDINGS.has(fault.code)) {
        port.countFault(fault.code);
        teller.tell(fault);
      }
      throw fault;
    }
  };
  return {
    clock: port.clock,
    queue: port.queue,
    settings: port.settings,
    faultPrinter: port.faultPrinter,
    group: port.group,
    get maxBytes() {
      return port.maxBytes;
    },
    onWake: (listener) => port.onWake(listener),
    claim: (...given) => watch(port.claim(...given)),
    fire: (...given) => watch(port.fire(...given)),
    renew: (...given) => watch(port.renew(...given)),
    readError: (...given) => watch(port.readError(...given)),
    report: (...given) => watch(port.report(...given)),
    settle: (...given) => watch(port.settle(...given)),
    count: (event) => port.count(event),
    countFault: (code) => port.countFault(code),
  };
}

/** The service closes: no fault. */
const ENDINGS: ReadonlySet<ErrorCode> = new Set(["CLOSED", "ABORTED"]);
