import { createRedisSse, type RedisSse } from "../lib/index.js";

let service: RedisSse | null = null;

/**
 * Returns the service of all mounts without the option `service`.
 *
 * The first call creates it, from the environment variable `REDIS_URL`. Use it to publish, to drain and to close, like any
 * other service.
 */
export function defaultService(): RedisSse {
  return (service ??= createRedisSse());
}
