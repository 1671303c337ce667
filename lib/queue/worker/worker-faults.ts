import { monotonicNow, type Clock } from "../../clock.js";
import type { RedisSseError } from "../../errors.js";
import { createLog } from "../../log.js";
import type { ServiceLog } from "../../logger.js";
import { ignoreRejection, nameOfThrown } from "../../thrown.js";
import type { Task } from "../task.js";

/** Reports a Redis error. Never throws. */
export type TellFault = (fault: RedisSseError) => void;

const log = createLog("worker");

/** `onFault` gets an error with the same code and message at most once in this time. */
const PERIOD_MS = 60_000;

/** Returns a function that calls `onFault`, at most once a minute for each code and message. */
export function faultsTo(onFault: TellFault, clock: Clock): TellFault {
  /** The time of the last call for each code and message. The map stays small: the library has few messages. */
  const toldAt = new Map<string, number>();
  return (fault) => {
    const key = `${fault.code} ${fault.message}`;
    const now = monotonicNow(clock);
    const last = toldAt.get(key);
    if (last !== undefined && now - last < PERIOD_MS) return;
    toldAt.set(key, now);
    // `onFault` may be async. Its rejection must not end the process.
    const told = (async () => onFault(fault))();
    told.catch((error: unknown) => {
      ignoreRejection(error);
      log("onFault threw: %s", nameOfThrown(error));
    });
  };
}

/** Returns a function that writes Redis errors to the service's log, once for all workers of a queue. */
export function faultsInLog(to: ServiceLog, queue: string): TellFault {
  return ({ code, message }) => {
    // The connection writes these errors to the log.
    if (code === "REDIS_UNAVAILABLE" || code === "REDIS_AUTH") return;
    to.fault(
      `workers ${queue} ${code} ${message}`,
      "the workers of queue %s cannot use Redis: %s (%s). They try again.",
      queue,
      message,
      code,
    );
  };
}

/** Returns a function that writes the errors of handlers to the service's log. */
export function errorsInLog(to: ServiceLog): (error: unknown, task: Task) => void {
  return (error, { id, kind }) => to.error(error, "task %s (%s) failed", id, kind);
}
