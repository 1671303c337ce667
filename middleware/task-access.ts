import type { Request } from "express";

import { RedisSseError, type RedisSse, type StreamAccess, type TaskSnapshot } from "../lib/index.js";
import type { RouteParams } from "./stream-options.js";

/**
 * Returns the id of the task that a request may watch or cancel, or nothing. Nothing is answered 403. Return an object with
 * the id (`TaskAccess`) to limit how long the client may watch it.
 */
export type TaskResolver<Params = RouteParams> = (
  req: Request<Params>,
) => TaskSelection | TaskAccess | Promise<TaskSelection | TaskAccess>;

/** A task id, or nothing. */
export type TaskSelection = string | null | undefined | false;

/** The task that a client may watch, and for how long. */
export interface TaskAccess extends Pick<StreamAccess, "key" | "expiresAt"> {
  /** The id of the task. Nothing is answered 403. */
  readonly id: TaskSelection;
}

const FIELDS: ReadonlySet<string> = new Set<keyof TaskAccess>(["id", "key", "expiresAt"]);

export const INVALID_ANSWER: RedisSseError = new RedisSseError(
  "INVALID_TASK",
  "expected an object of the resolver to have id, and otherwise only key and expiresAt",
);

/** Brings the two forms of an answer of a resolver into one. Returns `null` for an object of another form. */
export function readAccess(answer: TaskSelection | TaskAccess): TaskAccess | null {
  if (typeof answer !== "object" || answer === null) return { id: answer };
  return "id" in answer && Object.keys(answer).every((name) => FIELDS.has(name)) ? answer : null;
}

/** Reads the task of a resolver. Resolves to an error if the request has no such task. Rejects if another try can help. */
export async function findTask(
  service: RedisSse,
  selection: TaskSelection,
  queue: string | undefined,
): Promise<TaskSnapshot | RedisSseError> {
  if (!selection) return new RedisSseError("FORBIDDEN", "no task is allowed for this request");
  try {
    const found = await service.task(selection);
    if (found !== null && (queue === undefined || found.task.queue === queue)) return found;
    return unknownTask();
  } catch (error) {
    // The service may be of another copy of this library, so `instanceof` is not enough.
    const { retryable } = error as Partial<RedisSseError>;
    if (retryable === false) return error as RedisSseError;
    throw error;
  }
}

export function unknownTask(): RedisSseError {
  return new RedisSseError("UNKNOWN_TASK", "No task has this id.");
}
