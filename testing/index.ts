/**
 * Tools to test your app without a Redis server. See docs/testing.md.
 *
 * @module redis-sse/testing
 */

export { collect } from "./collect.js";
export type {
  CollectedEvent,
  CollectedStream,
  CollectOptions,
  StreamSource,
  WaitOptions,
} from "./collect.js";
export { createTestSse } from "./test-sse.js";
export type { TestSse, TestSseOptions } from "./test-sse.js";
export { FakeClock } from "./fake-clock.js";
export { TestRedis } from "./test-redis.js";
export type { RefusedCalls, StopRedisOptions } from "./test-redis.js";
