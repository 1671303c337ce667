import { assertOptions, optionError } from "../lib/adapter.js";
import {
  ConfigError,
  createRedisSse,
  type Clock,
  type RedisSse,
  type RedisSseOptions,
} from "../lib/index.js";
import { isFakeClock } from "./fake-clock.js";
import { isTestRedis, TestRedis } from "./test-redis.js";

/** Options of `createTestSse()`: those of `createRedisSse()`, with another `redis`. */
export interface TestSseOptions extends Omit<RedisSseOptions, "redis"> {
  /**
   * The in-memory Redis of another test service. The two services are then like two processes of your app. They have the
   * same clock.
   *
   * @defaultValue a Redis of its own
   */
  readonly redis?: TestRedis | undefined;
  /**
   * The time of the service and of its Redis: a `FakeClock` for time that your test controls.
   *
   * @defaultValue real time
   */
  readonly clock?: Clock | undefined;
}

/** A service on an in-memory Redis. Made by `createTestSse()`. */
export interface TestSse extends RedisSse {
  /** The Redis of this service, to cause faults in it. */
  readonly redis: TestRedis;
}

const realTime: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(callback, delayMs) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/**
 * Creates a complete service in memory, for tests of an app: publish, streams, notifications and queues work as with
 * `createRedisSse()`, without a Redis server. It shares nothing with other services, unless you pass their `redis`. It needs
 * the package `ioredis-mock`.
 *
 * `close()` ends the faults of its Redis, and with a `FakeClock` lets the clock run, so that nothing waits for it. Then no
 * timer and no handle is left. Throws `MOCK_MISSING`, and `ConfigError` for an invalid option.
 *
 * @example
 * const sse = createTestSse();
 * const app = createApp(sse);
 * // ...
 * await sse.close();
 */
export function createTestSse(options: TestSseOptions = {}): TestSse {
  assertOptions("options", options);
  const { redis = new TestRedis(options.clock ?? realTime), ...others } = options;
  if (!isTestRedis(redis)) {
    throw optionError("redis as the redis of another test service", redis);
  }
  if (options.clock !== undefined && options.clock !== redis.clock) {
    throw new ConfigError("Services on one Redis have one clock: omit clock.");
  }
  const { clock } = redis;
  const sse = createRedisSse({ ...others, redis: redis.source, clock });
  const { users } = redis;
  users.open++;
  users.unfinished++;
  const closeService = sse.close.bind(sse);
  let closed: Promise<void> | null = null;
  const close = async (): Promise<void> => {
    if (--users.open === 0) redis.recover();
    const stop = isFakeClock(clock) ? clock.runFree() : () => {};
    try {
      await closeService();
    } finally {
      stop();
      // Another one that is closing still needs the data.
      if (--users.unfinished === 0) await redis.clear();
    }
  };
  return Object.defineProperties(sse, {
    redis: { value: redis, enumerable: true },
    close: { value: () => (closed ??= close()) },
  }) as TestSse;
}
