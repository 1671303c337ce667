import type { RequestHandler } from "express";

import { answerTo, isFinished, optionError, progressOf } from "../lib/adapter.js";
import {
  progressChannel,
  type RedisSse,
  type StreamEvent,
  type TaskProgress,
  type TaskSnapshot,
} from "../lib/index.js";
import { lastEventIdOf } from "./read-last-event-id.js";
import { RuleErrors } from "./rule-errors.js";
import { assertMountOptions } from "./service-option.js";
import { sseStream } from "./sse-stream.js";
import type { RouteParams, SseStreamOptions } from "./stream-options.js";
import { serve, streamHandler } from "./stream-handler.js";
import { findTask, INVALID_ANSWER, readAccess, type TaskResolver } from "./task-access.js";

/** Options of `taskStream()`. */
export interface TaskStreamOptions<Params = RouteParams> extends Pick<
  SseStreamOptions<Params>,
  | "service"
  | "key"
  | "onLimit"
  | "methods"
  | "allowOrigins"
  | "onUnavailable"
  | "heartbeatMs"
  | "retryMs"
  | "slowConsumer"
  | "revalidate"
  | "onOpen"
> {
  /**
   * The queue of the task. A task of another queue is answered 404.
   *
   * @defaultValue any queue
   */
  readonly queue?: string | undefined;
}

/**
 * Creates a handler that streams one task to the client until the task ends.
 *
 * - The first event is the current state of the task.
 * - Progress arrives as `message` events (`TaskProgress`), output as `chunk` events, log lines as `log` events.
 * - A new client gets no earlier progress, but all output of the current or last attempt.
 * - A client that reconnects gets the events that it missed. After the end of the task it is answered 204.
 * - An unknown task is answered 404. An invalid id is answered 400.
 *
 * Errors of the resolver are handled as in `sseStream()`. Throws `ConfigError` if an argument or an option is invalid.
 */
export function taskStream<Params = RouteParams>(
  taskResolver: TaskResolver<Params>,
  options: TaskStreamOptions<Params> = {},
): RequestHandler<Params> {
  assertArguments(taskResolver, options);
  const errors = new RuleErrors();
  return streamHandler(taskResolver, options, async (visit, answer) => {
    const { req, sink, service } = visit;
    const selected = readAccess(answer);
    if (selected === null) return sink.answer(answerTo(INVALID_ANSWER, options));
    const { id, ...access } = selected;
    // The service answers a fault that passes by itself.
    const found = (await service.resolve(options, sink, () => findTask(service, id, options.queue)))?.value;
    if (found === undefined) return;
    if (!("task" in found)) return sink.answer(answerTo(found, options));
    const isBack = lastEventIdOf(req) !== undefined;
    const rules = found.seq === 0 ? unkept(service, found, options) : isBack ? {} : lateReader<Params>(found);
    const channels = progressChannel(found.task.id);
    await serve(visit, { ...access, channels }, { ...options, ...rules }, errors);
  });
}

/**
 * Rules for a client that is new. It first gets the current state of the task. So the stream omits earlier progress events and
 * the output of earlier attempts.
 */
function lateReader<Params>({ task, seq, began }: TaskSnapshot): SseStreamOptions<Params> {
  let seen = 0;
  return {
    // If the task has ended, the replay has its last event, with the id that makes an EventSource stop.
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

/**
 * Rules for a channel without history. They read the task after the stream is subscribed, so that no change is lost in between.
 */
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
      // A task that has ended or was deleted publishes no more events.
      if (now === undefined || isFinished(now.status)) await session.close("completed");
    },
  };
}

/** Reads the progress from an event. Returns `null` for output, and for events of other publishers on this channel. */
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
  "allowOrigins",
  "onUnavailable",
  "heartbeatMs",
  "retryMs",
  "slowConsumer",
  "revalidate",
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
  // `sseStream()` checks the other options. An invalid one is reported now, not at the first request.
  sseStream(() => null, shared);
}
