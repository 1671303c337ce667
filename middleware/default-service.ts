import { createRedisSse, type RedisSse } from "../lib/index.js";

let service: RedisSse | null = null;

/** The service of those who give none: made with the first request that needs it, from `REDIS_URL`. */
export function defaultService(): RedisSse {
  return (service ??= createRedisSse());
}
