import type { Request, RequestHandler, Response } from "express";

import { ConfigError, type RedisSse } from "../lib/index.js";
import { defaultService } from "./default-service.js";
import { createPoolReport } from "./pool-report.js";
import { assertMountOptions } from "./service-option.js";

/** Options of `redisPoolStatus()`. */
export interface RedisPoolStatusOptions {
  /**
   * The service to report on.
   *
   * @defaultValue the service that `defaultService()` returns
   */
  readonly service?: RedisSse;
  /**
   * Decides whether a request gets the report. Only `true` grants access.
   *
   * Required, because channel names can contain user ids.
   */
  readonly authorize: (req: Request) => boolean | Promise<boolean>;
}

/**
 * Creates a handler that reports the state of the Redis connections as JSON.
 *
 * - 200: Redis answered.
 * - 503: Redis did not answer. The body has the same form.
 * - 401: `authorize` did not return `true`. Redis is not queried.
 * - 500: `authorize` failed.
 *
 * Throws `ConfigError` if `authorize` is missing.
 */
export function redisPoolStatus(options: RedisPoolStatusOptions): RequestHandler {
  assertMountOptions(options);
  const { authorize, service } = options as Partial<RedisPoolStatusOptions>;
  if (typeof authorize !== "function") {
    throw new ConfigError("expected authorize as a function that returns true for an operator's request");
  }
  return async (req, res, next) => {
    res.set("Cache-Control", "no-store");
    let authorized: unknown;
    try {
      authorized = await authorize(req);
    } catch {
      // The text of the error may contain secrets, so the client does not get it.
      return refuse(res, 500, "INTERNAL", "authorize() failed");
    }
    if (authorized !== true) {
      res.set("WWW-Authenticate", "Bearer");
      return refuse(res, 401, "UNAUTHORIZED", "Not authorized: authorize() did not accept this request.");
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
