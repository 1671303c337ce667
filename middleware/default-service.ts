import { createRedisSse, type RedisSse } from "../lib/index.js";

let service: RedisSse | null = null;

/**
 * The service of every mount that is given none: made when it is first needed, from `REDIS_URL`. It is
 * here to be published through, drained and closed as any other.
 */
export function defaultService(): RedisSse {
  return (service ??= createRedisSse());
}
