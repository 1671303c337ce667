import { monotonicNow, type Clock } from "../../clock.js";
import type { RedisSseError } from "../../errors.js";
import { createLog } from "../../log.js";
import type { ServiceLog } from "../../logger.js";
import { ignoreRejection, nameOfThrown } from "../../thrown.js";
import type { Task } from "../task.js";

/** Tells of a fault of Redis. Never throws. */
export type TellFault = (fault: RedisSseError) => void;

const log = createLog("worker");

/** `onFault` gets a fault of the same code and message again after this time. */
const PERIOD_MS = 60_000;

/** Calls `onFault`, for each code and message at most once a minute. */
export function faultsTo(onFault: TellFault, clock: Clock): TellFault {
  /** By code and message: both are the library's own texts, so there are few. */
  const toldAt = new Map<string, number>();
  return (fault) => {
    const key = `${fault.code} ${fault.message}`;
    const now = monotonicNow(clock);
    const last = toldAt.get(key);
    if (last !== undefined && now - last < PERIOD_MS) return;
    toldAt.set(key, now);
    // It may be async, and must not end the process.
    const told = (async () => onFault(fault))();
    told.catch((error: unknown) => {
      ignoreRejection(error);
      log("onFault threw: %s", nameOfThrown(error));
    });
  };
}

/** Writes faults to the service's log, once for all workers of a queue. */
export function faultsInLog(to: ServiceLog, queue: string): TellFault {
  return ({ code, message }) => {
    // The connection itself says so.
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

/** Writes what handlers throw to the service's log. */
export function errorsInLog(to: ServiceLog): (error: unknown, task: Task) => void {
  return (error, { id, kind }) => to.error(error, "task %s (%s) failed", id, kind);
}
