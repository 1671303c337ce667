import type { Request, RequestHandler, Response } from "express";

import { ConfigError, type RedisSse } from "../lib/index.js";
import { defaultService } from "./default-service.js";
import { createPoolReport } from "./pool-report.js";
import { assertMountOptions } from "./service-option.js";

/** Options of `redisPoolStatus()`. */
export interface RedisPoolStatusOptions {
  /** Default: the service that `sseStream()` uses when it is given none. */
  readonly service?: RedisSse;
  /** Who may see it: only `true` admits. Channel names hold users' ids, so there is no default. */
  readonly authorize: (req: Request) => boolean | Promise<boolean>;
}

/**
 * The state of the Redis connections, as JSON: 200; 503 with the same body while Redis gives no answer;
 * 401 for whoever is not authorised, before anything is asked of Redis. Throws `ConfigError` without
 * `authorize`.
 */
export function redisPoolStatus(options: RedisPoolStatusOptions): RequestHandler {
  assertMountOptions(options);
  const { authorize, service } = options as Partial<RedisPoolStatusOptions>;
  if (typeof authorize !== "function") {
    throw new ConfigError(
      "expected redisPoolStatus({ authorize }) with a function that tells who may see it",
    );
  }
  return async (req, res, next) => {
    res.set("Cache-Control", "no-store");
    let authorized: unknown;
    try {
      authorized = await authorize(req);
    } catch {
      // What was thrown may say anything; whoever asks learns only that there is no answer.
      return refuse(res, 500, "INTERNAL", "the authorisation could not be checked");
    }
    if (authorized !== true) {
      res.set("WWW-Authenticate", "Bearer");
      return refuse(res, 401, "UNAUTHORIZED", "expected the credentials of an operator");
    }
    try {
      const report = createPoolReport(await (service ?? defaultService()).status());
      res.status(report.success ? 200 : 503).json(report);
    } catch (error) {
      next(error);
    }
  };
}

function refuse(res: Response, status: number, code: string, message: string): void {
  res.status(status).json({ success: false, error: { code, message } });
}
