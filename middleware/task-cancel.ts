import type { RequestHandler } from "express";

import { answerTo, isFinished, optionError } from "../lib/adapter.js";
import {
  progressChannel,
  RedisSseError,
  type ErrorCode,
  type RedisSse,
  type TaskStatus,
} from "../lib/index.js";
import { defaultService } from "./default-service.js";
import { Origins } from "./origins.js";
import { ResponseSink } from "./response/response-sink.js";
import { assertMountOptions } from "./service-option.js";
import type { RouteParams, SseStreamOptions } from "./stream-options.js";
import {
  findTask,
  INVALID_ANSWER,
  readAccess,
  unknownTask,
  type TaskAccess,
  type TaskResolver,
  type TaskSelection,
} from "./task-access.js";

/** Options of `taskCancel()`. */
export interface TaskCancelOptions<Params = RouteParams> extends Pick<
  SseStreamOptions<Params>,
  "service" | "allowOrigins"
> {
  /**
   * The queue of the task. A task of another queue is answered 404.
   *
   * @defaultValue any queue
   */
  readonly queue?: string | undefined;
}

/** GET is not accepted, because browsers load some URLs in advance. */
const METHODS: readonly string[] = ["POST", "DELETE"];

const RIGHTS: ReadonlySet<string> = new Set<ErrorCode>(["UNAUTHORIZED", "REVOKED", "CONFIG"]);

/** A client that uses `fetch` reads the status, so a retryable error is a 503. */
const UNAVAILABLE = { onUnavailable: "status" } as const;

/**
 * Creates a handler that cancels one task. Mount it with `app.post()` or `app.delete()`.
 *
 * - If the task is cancelled, the answer is 200 with `{ status: "cancelled" }`.
 * - If the task has already ended, it does not change. The answer is 200 with its status, for example `{ status: "succeeded" }`.
 * - If the resolver returns nothing, the request is answered 403. If the right in its answer has expired, it is answered 401. An unknown task is answered 404, an invalid id 400.
 * - A retryable error is answered 503 with `Retry-After`. The client can repeat the request.
 *
 * Other errors of the resolver go to `next(err)`. Throws `ConfigError` if an argument or an option is invalid.
 */
export function taskCancel<Params = RouteParams>(
  taskResolver: TaskResolver<Params>,
  options: TaskCancelOptions<Params> = {},
): RequestHandler<Params> {
  assertArguments(taskResolver, options);
  const origins = new Origins(options.allowOrigins, METHODS);
  return async (req, res, next) => {
    try {
      const sink = new ResponseSink(req, res);
      if (!sink.canAnswer()) return;
      const service = options.service ?? defaultService();
      const refused = origins.answer(req, res, service) ?? methodAnswer(req.method);
      if (refused !== null) return sink.answer(refused);
      const resolved = await service.resolve(UNAVAILABLE, sink, () => taskResolver(req));
      if (resolved === null) return;
      const access = readAccess(resolved.value);
      if (access === null) return sink.answer(answerTo(INVALID_ANSWER));
      const fault = rightFault(service, access);
      if (fault !== null) return sink.answer(answerTo(fault));
      const cancelled = await service.resolve(UNAVAILABLE, sink, () =>
        cancel(service, access.id, options.queue),
      );
      // The client may have left, or the application may have sent a response.
      if (cancelled === null || !sink.canAnswer()) return;
      if (typeof cancelled.value !== "string") return sink.answer(answerTo(cancelled.value));
      res.set("Cache-Control", "no-store").json({ status: cancelled.value });
    } catch (error) {
      next(error);
    }
  };
}

/** Returns why a right has ended. The limits of streams do not apply here. */
function rightFault(service: RedisSse, { key, expiresAt }: TaskAccess): RedisSseError | null {
  const fault = service.check({ key, expiresAt }, progressChannel("any"));
  return fault !== null && RIGHTS.has(fault.code) ? fault : null;
}

/** Resolves to the state of the task after the call, or to the error of a request without a task. */
async function cancel(
  service: RedisSse,
  id: TaskSelection,
  queue: string | undefined,
): Promise<TaskStatus | RedisSseError> {
  const found = await findTask(service, id, queue);
  if (!("task" in found)) return found;
  const { task } = found;
  if (isFinished(task.status)) return task.status;
  if (await service.queue(task.queue).cancel(task.id)) return "cancelled";
  // It ended between the two calls.
  return (await service.task(task.id))?.task.status ?? unknownTask();
}

function methodAnswer(method: string): ReturnType<typeof answerTo> | null {
  if (METHODS.includes(method)) return null;
  const fault = new RedisSseError("METHOD_NOT_ALLOWED", `Cancel a task with ${METHODS.join(" or ")}.`);
  return answerTo(fault, { allow: METHODS });
}

const KNOWN: ReadonlySet<string> = new Set<keyof TaskCancelOptions>(["service", "queue", "allowOrigins"]);

function assertArguments<Params>(taskResolver: unknown, options: TaskCancelOptions<Params>): void {
  if (typeof taskResolver !== "function") {
    throw optionError("taskCancel(taskResolver) with a function", taskResolver);
  }
  assertMountOptions(options, KNOWN);
  if (options.queue !== undefined && typeof options.queue !== "string") {
    throw optionError("queue as the name of a queue", options.queue);
  }
}
