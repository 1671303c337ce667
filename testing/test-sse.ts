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

/** Options of `createTestSse()`: the options of `createRedisSse()` with a different `redis`. */
export interface TestSseOptions extends Omit<RedisSseOptions, "redis"> {
  /**
   * The in-memory Redis of another test service.
   *
   * The two services then behave like two processes of your app. They share one clock.
   *
   * @defaultValue a new in-memory Redis
   */
  readonly redis?: TestRedis | undefined;
  /**
   * Clock of the service and of its Redis. Pass a `FakeClock` to control the time in your test.
   *
   * @defaultValue real time
   */
  readonly clock?: Clock | undefined;
}

/** A service on an in-memory Redis, created by `createTestSse()`. */
export interface TestSse extends RedisSse {
  /** The in-memory Redis of this service. Use it to simulate faults. */
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
 * Creates a complete service in memory, for tests of your app.
 *
 * Publish, streams, notifications and queues work as with `createRedisSse()`, but without a Redis server. Services share no
 * data, unless you pass the `redis` of another service. You must install the package `ioredis-mock`.
 *
 * `close()` ends the faults of its Redis. If you use a `FakeClock`, `close()` also lets the clock run with real time, so that
 * nothing waits for `advance()`. After `close()`, no timers or handles remain.
 *
 * Throws `MOCK_MISSING` if ioredis-mock is not installed, and `ConfigError` if an option is invalid.
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
    throw new ConfigError(
      "Do not pass clock together with redis: the services share the clock of that Redis.",
    );
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
      // Another service that is still closing needs the data.
      if (--users.unfinished === 0) await redis.clear();
    }
  };
  return Object.defineProperties(sse, {
    redis: { value: redis, enumerable: true },
    close: { value: () => (closed ??= close()) },
  }) as TestSse;
}
