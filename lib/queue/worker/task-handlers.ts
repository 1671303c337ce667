import { ConfigError } from "../../errors.js";
import type { TaskContext } from "./task-context.js";
import type { AnyTasks, KindOf, TaskMap } from "../task-map.js";
import { TaskFailure } from "../task.js";

/**
 * Runs one attempt of a task. Its return value is the result of the task.
 *
 * If the handler throws, the task gets a further attempt after its backoff. After the last attempt, the task fails.
 * Side effects of a handler can happen twice: if a worker crashes, another worker runs its tasks again.
 */
export type TaskHandler<Tasks extends TaskMap = AnyTasks> = (context: TaskContext<Tasks>) => unknown;

/**
 * One handler for each kind of task. A task of another kind goes back to the queue, and fails after `unknownKindMs`.
 */
export type TaskHandlers<Tasks extends TaskMap> = {
  readonly [Kind in KindOf<Tasks>]: TaskHandler<Pick<Tasks, Kind>>;
};

/**
 * The worker has no handler for the kind of a task.
 *
 * In a rolling deploy, another worker may have one. So the task goes back to the queue, and fails only after
 * `unknownKindMs`.
 */
export class UnknownKind extends TaskFailure {
  constructor() {
    super("no worker of this queue has a handler for this kind of task");
  }
}

/** Returns one handler for all kinds. It calls the handler of the kind if there are several. Throws `ConfigError`. */
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
