import type { ErrorRequestHandler, Response } from "express";
import { RedisSseError, type ErrorCode } from "redis-sse";
import { z } from "zod";

/** Maximum size of a request body. Larger bodies are answered 413. */
export const BODY_LIMIT = "16kb";

const USER = "must have 1 to 64 characters: A-Z a-z 0-9 _ . @ -";
const userId: z.ZodType<string> = z.string({ error: USER }).regex(/^[\w.@-]{1,64}$/, USER);

/** The query of a request that belongs to one user. */
export const userQuery: z.ZodType<{ user: string }> = z.object({ user: userId });

const TITLE = "must be a string of 1 to 200 characters";
const BODY = "must be a string of at most 2000 characters";

export const newNotification: z.ZodType<{ userId: string; title: string; body: string }> = z.object(
  {
    userId,
    title: z.string({ error: TITLE }).min(1, TITLE).max(200, TITLE),
    body: z.string({ error: BODY }).max(2_000, BODY),
  },
  { error: "The request body must be a JSON object { userId, title, body }." },
);

export interface NewTask {
  readonly kind: string;
  readonly steps: number;
  readonly stepMs: number;
  readonly delayMs: number;
  readonly attempts: number;
}

const KIND = "must be a string of 1 to 64 characters";

export const newTask: z.ZodType<NewTask> = z.object(
  {
    kind: z.string({ error: KIND }).min(1, KIND).max(64, KIND),
    steps: wholeNumber(1, 1_000).default(10),
    stepMs: wholeNumber(0, 10_000).default(300),
    delayMs: wholeNumber(0, 3_600_000).default(0),
    attempts: wholeNumber(1, 10).default(3),
  },
  { error: "The request body must be a JSON object { kind, steps?, stepMs?, delayMs?, attempts? }." },
);

const IDS = 'must be "all" or a list of 1 to 100 task ids';

export const deadLetterIds: z.ZodType<{ ids: "all" | string[] }> = z.object(
  {
    ids: z.union(
      [
        z.literal("all"),
        z
          .array(z.string(IDS).regex(/^[\w-]{1,128}$/, IDS))
          .min(1)
          .max(100),
      ],
      { error: IDS },
    ),
  },
  { error: "The request body must be a JSON object { ids }." },
);

function wholeNumber(min: number, max: number): z.ZodNumber {
  const rule = `must be a whole number from ${min} to ${max}`;
  return z.number({ error: rule }).int(rule).min(min, rule).max(max, rule);
}

/** An error that the client caused. It is answered with this status, code and message. */
export class BadRequest extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Returns the validated input. Throws a `BadRequest` that names the invalid fields. */
export function parse<Output>(schema: z.ZodType<Output>, input: unknown): Output {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) =>
    path.length > 0 ? `${path.join(".")} ${message}` : message,
  );
  throw new BadRequest(400, "INVALID_INPUT", problems.join("; "));
}

/** Messages for the errors of express.json(). Its own messages repeat parts of the body. */
const BODY_FAULTS: Readonly<Record<string, string>> = {
  "entity.too.large": `The request body must not be larger than ${BODY_LIMIT}.`,
  "entity.parse.failed": "The request body is not valid JSON.",
  "charset.unsupported": "The request body must be in UTF-8.",
  "encoding.unsupported": "The request body must be uncompressed, or compressed with gzip or deflate.",
};

/** HTTP statuses by error code. All other codes are answered 503. */
const STATUS_OF: Readonly<Partial<Record<ErrorCode, number>>> = {
  TASK_EXISTS: 409,
  LIMIT_CHANNELS: 409,
  CLOSED: 409,
  INVALID_CHANNEL: 400,
  INVALID_TASK: 400,
  INVALID_NOTIFICATION: 400,
  EVENT_TOO_LARGE: 413,
  TASK_TOO_LARGE: 413,
};

/** Answers every error as JSON. Unexpected errors are answered without details. */
export const answerErrors: ErrorRequestHandler = (error: unknown, _req, res, next) => {
  if (res.headersSent) return next(error);
  if (error instanceof BadRequest) return fail(res, error.status, error.code, error.message);
  const { status, type } = error as { status?: number; type?: string };
  if (status !== undefined && status >= 400 && status < 500) {
    return fail(res, status, "BAD_REQUEST", BODY_FAULTS[type ?? ""] ?? "The request is not valid.");
  }
  if (error instanceof RedisSseError)
    return fail(res, STATUS_OF[error.code] ?? 503, error.code, error.message);
  console.error(error);
  fail(res, 500, "INTERNAL", "Unexpected server error.");
};

function fail(res: Response, status: number, code: string, message: string): void {
  // The same path can be valid later.
  res.set("Cache-Control", "no-store");
  res.status(status).json({ error: { code, message } });
}
