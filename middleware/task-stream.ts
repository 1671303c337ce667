import type { Request, RequestHandler } from "express";

import { answerTo, isFinished, optionError, progressOf } from "../lib/adapter.js";
import {
  progressChannel,
  RedisSseError,
  type RedisSse,
  type StreamEvent,
  type TaskProgress,
  type TaskSnapshot,
} from "../lib/index.js";
import { lastEventIdOf } from "./last-event-id.js";
import { RuleErrors } from "./rule-errors.js";
import { assertMountOptions } from "./service-option.js";
import { sseStream } from "./sse-stream.js";
import type { RouteParams, SseStreamOptions } from "./stream-options.js";
import { serve, streamHandler } from "./stream-handler.js";

/** Tells which task a request may watch: its id, or nothing, which is answered 403. */
export type TaskResolver<Params = RouteParams> = (
  req: Request<Params>,
) => TaskSelection | Promise<TaskSelection>;

/** The id of a task, or nothing. */
export type TaskSelection = string | null | undefined | false;

/** Options of `taskStream()`. */
export interface TaskStreamOptions<Params = RouteParams> extends Pick<
  SseStreamOptions<Params>,
  | "service"
  | "key"
  | "onLimit"
  | "methods"
  | "onUnavailable"
  | "heartbeatMs"
  | "retryMs"
  | "slowConsumer"
  | "onOpen"
> {
  /** The queue that the task has to be of; any other is unknown. Default: any queue. */
  readonly queue?: string | undefined;
}

/**
 * Streams one task to the client: how it stands, then whatever it tells (`TaskProgress` as `message`, output as `chunk`,
 * lines as `log`), then its end; who comes back after that is answered 204. Who comes late gets of the progress only how it
 * stands, and all output of the attempt that is under way, or was the last; who comes back gets what they missed. A
 * task that is not there is answered 404, an id that cannot be 400. Faults of the resolver go to `next(err)`, as with `sseStream()`. Throws
 * `ConfigError` for arguments that cannot be.
 */
export function taskStream<Params = RouteParams>(
  taskResolver: TaskResolver<Params>,
  options: TaskStreamOptions<Params> = {},
): RequestHandler<Params> {
  assertArguments(taskResolver, options);
  const errors = new RuleErrors();
  return streamHandler(taskResolver, options, async (visit, selection) => {
    const { req, sink, service } = visit;
    // The service answers a fault that passes by itself.
    const found = (await service.resolve(options, sink, () => find(service, selection, options.queue)))
      ?.value;
    if (found === undefined) return;
    if (found instanceof RedisSseError) return sink.answer(answerTo(found, options));
    const isBack = lastEventIdOf(req) !== undefined;
    const rules = found.seq === 0 ? unkept(service, found, options) : isBack ? {} : lateReader<Params>(found);
    await serve(visit, progressChannel(found.task.id), { ...options, ...rules }, errors);
  });
}

async function find(
  service: RedisSse,
  selection: TaskSelection,
  queue: string | undefined,
): Promise<TaskSnapshot | RedisSseError> {
  if (!selection) return new RedisSseError("FORBIDDEN", "no task is open to this request");
  try {
    const found = await service.task(selection);
    if (found !== null && (queue === undefined || found.task.queue === queue)) return found;
    return new RedisSseError("UNKNOWN_TASK", "expected the id of a task that is there");
  } catch (error) {
    if (error instanceof RedisSseError && !error.retryable) return error;
    throw error;
  }
}

/**
 * How the task stands comes first, so that what it told of its progress before that is left out, and what attempts have
 * written that are over.
 */
function lateReader<Params>({ task, seq, began }: TaskSnapshot): SseStreamOptions<Params> {
  let seen = 0;
  return {
    // The end of one that is over is in its log, and comes with the id that stops an EventSource.
    first: () => (isFinished(task.status) ? [] : [{ data: progressOf(task, seq) }]),
    filter: (event) => {
      if (seen > seq) return true;
      const told = progressIn(event);
      if (told === null) return seen >= began;
      seen = told.seq;
      return seen > seq || isFinished(told.status);
    },
  };
}

/** Without a history the task itself is asked once the stream hears of it: nothing falls between. */
function unkept<Params>(
  service: RedisSse,
  { task }: TaskSnapshot,
  { onOpen }: TaskStreamOptions<Params>,
): SseStreamOptions<Params> {
  return {
    until: (event) => {
      const told = progressIn(event);
      return told !== null && isFinished(told.status);
    },
    onOpen: async (session, req) => {
      await onOpen?.(session, req);
      const now = (await service.task(task.id))?.task;
      if (now !== undefined) session.send({ data: progressOf(now) });
      // Nothing more will be told of one that has ended or is forgotten.
      if (now === undefined || isFinished(now.status)) await session.close("completed");
    },
  };
}

/** What an event tells of the task's progress; `null` for its output, and for what others publish there. */
function progressIn({ event, data }: StreamEvent): TaskProgress | null {
  if (event !== undefined) return null;
  try {
    const told = JSON.parse(data) as Partial<TaskProgress> | null;
    return typeof told?.seq === "number" && typeof told.status === "string" ? (told as TaskProgress) : null;
  } catch {
    return null;
  }
}

const KNOWN: ReadonlySet<string> = new Set<keyof TaskStreamOptions>([
  "service",
  "queue",
  "key",
  "onLimit",
  "methods",
  "onUnavailable",
  "heartbeatMs",
  "retryMs",
  "slowConsumer",
  "onOpen",
]);

function assertArguments<Params>(taskResolver: unknown, options: TaskStreamOptions<Params>): void {
  if (typeof taskResolver !== "function") {
    throw optionError("taskStream(taskResolver) with a function", taskResolver);
  }
  assertMountOptions(options, KNOWN);
  const { queue, ...shared } = options;
  if (queue !== undefined && typeof queue !== "string") {
    throw optionError("queue as the name of a queue", queue);
  }
  // Whatever else is wrong with the options is said now, not with the first request.
  sseStream(() => null, shared);
}
