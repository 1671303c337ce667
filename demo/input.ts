import type { ErrorRequestHandler, Response } from "express";
import { RedisSseError, type ErrorCode } from "redis-sse";
import { z } from "zod";

/** The largest body that is read; more is answered 413. */
export const BODY_LIMIT = "16kb";

export const userId: z.ZodType<string> = z
  .string({ error: "expected a user name as a string" })
  .regex(/^[\w.@-]{1,64}$/, "expected a user name of 1 to 64 characters of A-Z a-z 0-9 _ . @ -");

export const newNotification: z.ZodType<{ userId: string; title: string; body: string }> = z.object(
  {
    userId,
    title: z
      .string({ error: "expected a string of 1 to 200 characters" })
      .min(1, "expected a string of 1 to 200 characters")
      .max(200, "expected a string of 1 to 200 characters"),
    body: z
      .string({ error: "expected a string of at most 2000 characters" })
      .max(2_000, "expected a string of at most 2000 characters"),
  },
  { error: "expected a JSON object { userId, title, body }" },
);

export interface NewTask {
  readonly kind: string;
  readonly steps: number;
  readonly stepMs: number;
  readonly delayMs: number;
  readonly attempts: number;
}

export const newTask: z.ZodType<NewTask> = z.object(
  {
    kind: z
      .string({ error: "expected a string of 1 to 64 characters" })
      .min(1, "expected a string of 1 to 64 characters")
      .max(64, "expected a string of 1 to 64 characters"),
    steps: wholeNumber(1, 1_000).default(10),
    stepMs: wholeNumber(0, 10_000).default(300),
    delayMs: wholeNumber(0, 3_600_000).default(0),
    attempts: wholeNumber(1, 10).default(3),
  },
  { error: "expected a JSON object { kind, steps?, stepMs?, delayMs?, attempts? }" },
);

const IDS = 'expected "all", or a list of 1 to 100 ids of tasks';

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
  { error: "expected a JSON object { ids }" },
);

function wholeNumber(min: number, max: number): z.ZodNumber {
  const expected = `expected a whole number from ${min} to ${max}`;
  return z.number({ error: expected }).int(expected).min(min, expected).max(max, expected);
}

/** A request that cannot be carried out as it is. */
export class BadRequest extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The checked form of an input; throws `BadRequest`, which says what was expected and where. */
export function parse<Output>(schema: z.ZodType<Output>, input: unknown): Output {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) =>
    path.length > 0 ? `${path.join(".")}: ${message}` : message,
  );
  throw new BadRequest(400, "INVALID_INPUT", problems.join("; "));
}

/** The codes of express.json()'s errors, in our words: its own would echo the body. */
const BODY_FAULTS: Readonly<Record<string, string>> = {
  "entity.too.large": `expected a body of at most ${BODY_LIMIT}`,
  "entity.parse.failed": "expected a body of valid JSON",
  "charset.unsupported": "expected a body in UTF-8",
  "encoding.unsupported": "expected a body that is not encoded, or by gzip or deflate",
};

/** The statuses of faults that are not a passing one of Redis. */
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

/** Answers every error as JSON; what is not the client's fault is told without detail. */
export const answerErrors: ErrorRequestHandler = (error: unknown, _req, res, next) => {
  if (res.headersSent) return next(error);
  if (error instanceof BadRequest) return fail(res, error.status, error.code, error.message);
  const { status, type } = error as { status?: number; type?: string };
  if (status !== undefined && status >= 400 && status < 500) {
    return fail(res, status, "BAD_REQUEST", BODY_FAULTS[type ?? ""] ?? "expected another request");
  }
  if (error instanceof RedisSseError)
    return fail(res, STATUS_OF[error.code] ?? 503, error.code, error.message);
  console.error(error);
  fail(res, 500, "INTERNAL", "an unexpected error");
};

function fail(res: Response, status: number, code: string, message: string): void {
  // A path that is unknown now may be known later.
  res.set("Cache-Control", "no-store");
  res.status(status).json({ error: { code, message } });
}
