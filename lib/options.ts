import { type Clock, systemClock, withSafeDelays } from "./clock.js";
import { ConfigError } from "./errors.js";
import { readHistoryOptions, type HistoryOptions, type HistorySettings } from "./history/history-policy.js";
import { MAX_CHANNELS } from "./sse/event-id.js";
import { DEFAULT_HEARTBEAT_MS } from "./sse/frame.js";
import { readSlowConsumer, type SlowConsumerPolicy } from "./backpressure/slow-consumer.js";
import { readLogger, type Logger } from "./logger.js";
import type { RedisSource } from "./redis/connection-factory.js";
import {
  assertObject,
  assertOptions,
  optionError,
  readHeartbeat,
  readMilliseconds,
  readWholeNumber,
  readWholeNumberOrInfinity,
  type Filled,
} from "./validate.js";

/** The limits of a service, each for one process. */
export interface LimitOptions {
  /** Streams open at once in this process; further ones are told to come back. Default 50,000. */
  readonly maxSessions?: number | undefined;
  /**
   * Streams open at once for one `key` (a user, an address). The option `onLimit` of a mount decides how a further stream
   * is handled. Default 100.
   */
  readonly maxSessionsPerKey?: number | undefined;
  /** Channels of one stream. At most 320, so that the ids of its events stay below 8 KB. Default 64. */
  readonly maxChannelsPerSession?: number | undefined;
  /**
   * Bytes of events that may wait in this process for one client to read: each counts as its data, its frame and 200
   * bytes. What Node and the system hold for its socket comes on top. With "disconnect" the stream ends as
   * `slow-consumer` when more waits; the other policies of `slowConsumer` drop the oldest from three quarters on, though
   * never the newest event for its own size, nor what `session.send()` sent: with more than this of it the stream ends.
   * At least `maxEventBytes`. Default 1 MiB.
   */
  readonly maxBufferedBytes?: number | undefined;
  /**
   * Bytes that may wait for all clients of this process together, counted as for one. When more waits the streams with the
   * most give way until it is less: with "disconnect" they end as `slow-consumer`, with the other policies they drop
   * all that waits and may be dropped, the newest too, or end where that is nothing. At least `maxBufferedBytes`.
   * Default 256 MiB.
   */
  readonly maxTotalBufferedBytes?: number | undefined;
  /** Milliseconds for which a client may leave what was written to it undrained. Default 30,000. */
  readonly maxStallMs?: number | undefined;
  /**
   * Milliseconds for which a client that has vanished without a word (its radio is off, a NAT has forgotten it) may leave
   * unanswered what is sent to it again and again; then its stream ends as `peer-lost`. At least 1,000; Infinity leaves it
   * to the system, which on Linux takes a quarter of an hour. Default 60,000. With nothing under way it is TCP keepalive
   * that finds it, about as soon, but not within 11 s. On systems other than Linux, and where `/proc/net` cannot be
   * read, there is keepalive alone.
   */
  readonly peerTimeoutMs?: number | undefined;
  /** Events that a client is sent from the logs of its channels when it comes back; of more it is told a gap. Default 10,000. */
  readonly maxReplayEvents?: number | undefined;
  /** Bytes of one event's data, at least 4. Default 256 KiB. */
  readonly maxEventBytes?: number | undefined;
  /** Milliseconds after which a stream ends, less up to a fifth at random. Default: never. */
  readonly maxLifetimeMs?: number | undefined;
  /** Milliseconds that a resolver and `key` may take to answer. After that the client gets a passing fault. Default 10,000. */
  readonly resolverTimeoutMs?: number | undefined;
  /** Milliseconds that Redis may take to acknowledge a subscription. Default 5,000. */
  readonly subscribeTimeoutMs?: number | undefined;
  /** Milliseconds for each stage of a teardown. Default 2,000. */
  readonly closeTimeoutMs?: number | undefined;
}

/** Options of `createRedisSse()`. */
export interface RedisSseOptions {
  /** An app's own ioredis client (duplicated, never closed), ioredis options, or a URL. Default `REDIS_URL`, else redis://127.0.0.1:6379. */
  readonly redis?: RedisSource | undefined;
  /** Begins every key that this library owns. Channel names are used as given. Default "sse:". */
  readonly keyPrefix?: string | undefined;
  /** One subscriber connection for all streams, or one leased connection for each. Default "shared". */
  readonly subscriptions?: "shared" | "dedicated" | undefined;
  /** Limits for leased Redis connections. */
  readonly pool?:
    | {
        /** Connections that may be leased at once. Default 200. */
        readonly maxConnections?: number | undefined;
        /** Milliseconds that a lease may take, connecting included. Default 5,000. */
        readonly acquireTimeoutMs?: number | undefined;
        /** Requests that may wait for a lease at once. Default 1,000. */
        readonly maxWaiting?: number | undefined;
        /** Milliseconds after which status marks a lease as overdue, and the log says so once. Nothing is taken away. Default 3,600,000, an hour. */
        readonly leaseAlarmMs?: number | undefined;
      }
    | undefined;
  /** How much of each channel is kept, for clients that come back; `false`: nothing. */
  readonly history?: HistoryOptions | false | undefined;
  /**
   * Milliseconds of silence after which a stream gets a comment, and between two PINGs to Redis. `false`: no comments, and
   * PINGs every 15 s. Then a client cannot tell a dead connection from a silent one. Default 15,000.
   */
  readonly heartbeatMs?: number | false | undefined;
  /** Milliseconds that a client is told to wait before it comes back. Default 2,000. */
  readonly retryMs?: number | undefined;
  /** What becomes of events that a client does not read in time; a stream may have a rule of its own. Default "disconnect". */
  readonly slowConsumer?: SlowConsumerPolicy | undefined;
  /** Limits for streams, events and waits. */
  readonly limits?: LimitOptions | undefined;
  /**
   * Where the service writes its messages; each is one finished string. Default: warnings and errors go to the console, the
   * rest to the `debug` package (`DEBUG=redis-sse:service`). What concerns one stream goes only to the `debug` package.
   */
  readonly logger?: Logger | undefined;
  /** Time, for tests. */
  readonly clock?: Clock | undefined;
}

/** The options with every default filled in. */
export interface Settings {
  readonly redis: RedisSource | undefined;
  readonly keyPrefix: string;
  readonly subscriptions: "shared" | "dedicated";
  readonly pool: {
    readonly maxConnections: number;
    readonly acquireTimeoutMs: number;
    readonly maxWaiting: number;
    readonly leaseAlarmMs: number;
  };
  readonly history: HistorySettings;
  readonly heartbeatMs: number | false;
  readonly retryMs: number;
  readonly slowConsumer: SlowConsumerPolicy;
  readonly limits: Filled<LimitOptions>;
  readonly logger: Logger;
  readonly clock: Clock;
}

const DEFAULT_POOL = {
  maxConnections: 200,
  acquireTimeoutMs: 5_000,
  maxWaiting: 1_000,
  leaseAlarmMs: 3_600_000,
};

const DEFAULT_LIMITS: Filled<LimitOptions> = {
  maxSessions: 50_000,
  maxSessionsPerKey: 100,
  maxChannelsPerSession: 64,
  maxBufferedBytes: 1024 * 1024,
  maxTotalBufferedBytes: 256 * 1024 * 1024,
  maxStallMs: 30_000,
  peerTimeoutMs: 60_000,
  maxReplayEvents: 10_000,
  maxEventBytes: 256 * 1024,
  maxLifetimeMs: Infinity,
  resolverTimeoutMs: 10_000,
  subscribeTimeoutMs: 5_000,
  closeTimeoutMs: 2_000,
};

const UNBOUNDED_LIMITS: ReadonlySet<string> = new Set(["maxLifetimeMs", "peerTimeoutMs"]);

/**
 * A dead peer shows only after a few retransmissions, and the first ones take a second. An event must have room for
 * any character, which has up to 4 bytes.
 */
const LOWEST_LIMITS: Readonly<Record<string, number>> = { peerTimeoutMs: 1_000, maxEventBytes: 4 };

const KNOWN: ReadonlySet<string> = new Set<keyof RedisSseOptions>([
  "redis",
  "keyPrefix",
  "subscriptions",
  "pool",
  "history",
  "heartbeatMs",
  "retryMs",
  "slowConsumer",
  "limits",
  "logger",
  "clock",
]);

/** Checks the options and fills in the defaults. Throws `ConfigError`, which names the option. */
export function readOptions(options: RedisSseOptions = {}): Settings {
  assertOptions("options", options, KNOWN);
  const {
    keyPrefix = "sse:",
    subscriptions = "shared",
    heartbeatMs = DEFAULT_HEARTBEAT_MS,
    retryMs = 2_000,
  } = options;
  const { slowConsumer = "disconnect" } = options;
  // A prefix with a brace would break the hash tags that keep the keys of one queue in one slot.
  if (typeof keyPrefix !== "string" || !/^[\w.:-]{1,64}$/.test(keyPrefix)) {
    throw optionError("keyPrefix as 1 to 64 characters of A-Z a-z 0-9 _ . : -", keyPrefix);
  }
  if (subscriptions !== "shared" && subscriptions !== "dedicated") {
    throw optionError('subscriptions as "shared" or "dedicated"', subscriptions);
  }
  const limits = readNumbers("limits", options.limits, DEFAULT_LIMITS, UNBOUNDED_LIMITS, LOWEST_LIMITS);
  readWholeNumber("limits.maxChannelsPerSession", limits.maxChannelsPerSession, 1, MAX_CHANNELS);
  if (limits.maxEventBytes > limits.maxBufferedBytes) {
    throw new ConfigError(
      `expected limits.maxBufferedBytes to be at least limits.maxEventBytes (${limits.maxEventBytes}), got ${limits.maxBufferedBytes}`,
    );
  }
  if (
    options.limits?.maxTotalBufferedBytes !== undefined &&
    limits.maxBufferedBytes > limits.maxTotalBufferedBytes
  ) {
    throw new ConfigError(
      `expected limits.maxTotalBufferedBytes to be at least limits.maxBufferedBytes (${limits.maxBufferedBytes}), got ${limits.maxTotalBufferedBytes}`,
    );
  }
  return {
    redis: options.redis,
    keyPrefix,
    subscriptions,
    pool: readNumbers("pool", options.pool, DEFAULT_POOL),
    history: readHistoryOptions(options.history),
    heartbeatMs: readHeartbeat(heartbeatMs),
    retryMs: readMilliseconds("retryMs", retryMs),
    slowConsumer: readSlowConsumer(slowConsumer),
    limits,
    logger: readLogger(options.logger),
    clock: readClock(options.clock),
  };
}

function readClock(clock: Clock = systemClock): Clock {
  assertObject("clock", clock);
  const complete = typeof clock.now === "function" && typeof clock.schedule === "function";
  if (complete && (clock.monotonic === undefined || typeof clock.monotonic === "function")) {
    return clock === systemClock ? clock : withSafeDelays(clock);
  }
  throw new ConfigError(
    "expected clock as an object with the functions now, schedule and, if at all, monotonic",
  );
}

function readNumbers<Group extends { readonly [Name in keyof Group]: number }>(
  group: string,
  given: { readonly [Name in keyof Group]?: Group[Name] | undefined } | undefined,
  defaults: Group,
  unbounded: ReadonlySet<string> = new Set(),
  lowest: Readonly<Record<string, number>> = {},
): Group {
  if (given === undefined) return defaults;
  assertOptions(group, given, new Set(Object.keys(defaults)));
  const entries = Object.entries<number>(defaults).map(([name, fallback]) => {
    const value: unknown = (given as Record<string, unknown>)[name];
    if (value === undefined) return [name, fallback];
    const least = lowest[name] ?? 1;
    const read = unbounded.has(name) ? readWholeNumberOrInfinity : readWholeNumber;
    return [name, read(`${group}.${name}`, value, least)];
  });
  return Object.fromEntries(entries) as Group;
}
