import { ConfigError } from "../../errors.js";
import type { TaskContext } from "./task-context.js";
import type { AnyTasks, KindOf, TaskMap } from "../task-map.js";
import { TaskFailure } from "../task.js";

/**
 * Does one task. What it returns is the task's result; when it throws, the task is tried again after a while, as often as
 * `attempts` admits, and then fails. Whatever it does may be done twice, where a worker is lost.
 */
export type TaskHandler<Tasks extends TaskMap = AnyTasks> = (context: TaskContext<Tasks>) => unknown;

/** A handler for each kind of task. A task of another kind goes back to the queue, and fails after `unknownKindMs`. */
export type TaskHandlers<Tasks extends TaskMap> = {
  readonly [Kind in KindOf<Tasks>]: TaskHandler<Pick<Tasks, Kind>>;
};

/**
 * This worker has no handler for a kind of task. During a rolling deploy another worker has one, so the task goes back to the
 * queue for `unknownKindMs`.
 */
export class UnknownKind extends TaskFailure {
  constructor() {
    super("no worker of this queue knows this kind of task");
  }
}

/** One handler of what was given, which may be one for each kind. Throws `ConfigError`. */
export function readHandler(given: TaskHandler | TaskHandlers<AnyTasks>): TaskHandler {
  if (typeof given === "function") return given;
  if (typeof given !== "object" || given === null) {
    throw new ConfigError(`expected a handler, or an object with one for each kind, got ${typeof given}`);
  }
  const handlers = new Map(Object.entries(given));
  if (handlers.size === 0) throw new ConfigError("expected a handler for at least one kind of task");
  for (const [, handler] of handlers) {
    if (typeof handler !== "function") {
      throw new ConfigError(`expected each kind's handler as a function, got ${typeof handler}`);
    }
  }
  return (context) => {
    const handler = handlers.get(context.task.kind);
    if (handler === undefined) throw new UnknownKind();
    return handler(context);
  };
}
