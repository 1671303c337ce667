import { type Clock, systemClock, withSafeDelays } from "./clock.js";
import { ConfigError } from "./errors.js";
import { readHistoryOptions, type HistoryOptions, type HistorySettings } from "./history/history-policy.js";
import { MAX_CHANNELS } from "./sse/event-id.js";
import { DEFAULT_HEARTBEAT_MS } from "./sse/frame.js";
import { readSecret } from "./sse/id-token.js";
import { readSlowConsumer, type SlowConsumerPolicy } from "./backpressure/slow-consumer-policy.js";
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

/** The limits of a service. Each applies to one process. */
export interface LimitOptions {
  /**
   * Open streams of this process. The client of a further stream gets an `error` event and reconnects.
   *
   * @defaultValue 50_000
   */
  readonly maxSessions?: number | undefined;
  /**
   * Open streams of one `key` (a user, an address) in this process. The option `onLimit` of a mount decides how a further
   * stream is handled.
   *
   * @defaultValue 100
   */
  readonly maxSessionsPerKey?: number | undefined;
  /**
   * Channels of one stream, from 1 to 320. With 320 channels, the ids of its events stay below 8 KB.
   *
   * @defaultValue 64
   */
  readonly maxChannelsPerSession?: number | undefined;
  /**
   * Buffer limit of one client, in bytes. At least `maxEventBytes`.
   *
   * Each buffered event counts as its data, its frame and 200 bytes. The buffers of Node.js and of the system for the socket
   * come on top. With `"disconnect"`, a stream over the limit ends with `slow-consumer`. The other policies of `slowConsumer`
   * drop the oldest events from three quarters of the limit on. They never drop the newest event, and never an event of
   * `session.send()`. If the events of `session.send()` exceed the limit, the stream ends.
   *
   * @defaultValue 1_048_576 (1 MiB)
   */
  readonly maxBufferedBytes?: number | undefined;
  /**
   * Buffer limit of all clients of this process together, in bytes. At least `maxBufferedBytes`.
   *
   * Over the limit, the streams with the largest buffers are closed or trimmed first. With `"disconnect"` they end with
   * `slow-consumer`. With the other policies of `slowConsumer` they drop all events that may be dropped, also the newest. A
   * stream that has no such event ends.
   *
   * When clients reconnect, the process caches pages of histories for 5 to 10 s. This cache has its own limit: a quarter of this
   * value.
   *
   * @defaultValue 268_435_456 (256 MiB)
   */
  readonly maxTotalBufferedBytes?: number | undefined;
  /**
   * Milliseconds that a client may take to read all that was written to it. After that its stream ends with `slow-consumer`.
   *
   * @defaultValue 30_000
   */
  readonly maxStallMs?: number | undefined;
  /**
   * Milliseconds after which a client that acknowledges nothing is lost: its stream ends with `peer-lost`. From 1,000, or
   * `Infinity`: then the system finds lost clients, which takes 15 minutes on Linux.
   *
   * A silent stream finds a lost client through TCP keepalive, after about the same time, but not within 11 s. On systems
   * other than Linux, and if `/proc/net` cannot be read, only keepalive finds lost clients.
   *
   * @defaultValue 60_000
   */
  readonly peerTimeoutMs?: number | undefined;
  /**
   * Events of the history that a client gets when it reconnects. If it missed more, it gets a `gap` event (`limit`).
   *
   * @defaultValue 10_000
   */
  readonly maxReplayEvents?: number | undefined;
  /**
   * Size of the data of one event, in bytes. At least 4.
   *
   * @defaultValue 262_144 (256 KiB)
   */
  readonly maxEventBytes?: number | undefined;
  /**
   * Milliseconds after which a stream ends with `max-lifetime`. A random part of up to a fifth is subtracted.
   *
   * @defaultValue Infinity
   */
  readonly maxLifetimeMs?: number | undefined;
  /**
   * Deadline for a resolver and `key`, in milliseconds. After that the client gets an `error` event (`RESOLVER_TIMEOUT`) and
   * reconnects.
   *
   * @defaultValue 10_000
   */
  readonly resolverTimeoutMs?: number | undefined;
  /**
   * Deadline for Redis to acknowledge a subscription, in milliseconds.
   *
   * @defaultValue 5_000
   */
  readonly subscribeTimeoutMs?: number | undefined;
  /**
   * Deadline for each stage of a teardown, in milliseconds.
   *
   * @defaultValue 2_000
   */
  readonly closeTimeoutMs?: number | undefined;
}

/** Options of `createRedisSse()`. */
export interface RedisSseOptions {
  /**
   * A URL, ioredis options, or your own ioredis client. The service duplicates your client and never closes it.
   *
   * @defaultValue the environment variable `REDIS_URL`, otherwise `redis://127.0.0.1:6379`
   */
  readonly redis?: RedisSource | undefined;
  /**
   * Prefix of every key that this library owns: 1 to 64 characters of A-Z a-z 0-9 _ . : -. Channel names get no prefix.
   *
   * @defaultValue "sse:"
   */
  readonly keyPrefix?: string | undefined;
  /**
   * `"shared"`: one subscriber connection for all streams. `"dedicated"`: one leased connection for each stream.
   *
   * @defaultValue "shared"
   */
  readonly subscriptions?: "shared" | "dedicated" | undefined;
  /** Limits for leased Redis connections. */
  readonly pool?:
    | {
        /**
         * Leased connections at the same time.
         *
         * @defaultValue 200
         */
        readonly maxConnections?: number | undefined;
        /**
         * Deadline for a lease, in milliseconds, with the time to connect.
         *
         * @defaultValue 5_000
         */
        readonly acquireTimeoutMs?: number | undefined;
        /**
         * Requests that may wait for a lease at the same time.
         *
         * @defaultValue 1_000
         */
        readonly maxWaiting?: number | undefined;
        /**
         * Milliseconds after which `status()` marks a lease as overdue and the service logs one warning. The lease goes on.
         *
         * @defaultValue 3_600_000 (one hour)
         */
        readonly leaseAlarmMs?: number | undefined;
      }
    | undefined;
  /** How many events of each channel Redis keeps for clients that reconnect. `false`: none. */
  readonly history?: HistoryOptions | false | undefined;
  /**
   * Milliseconds of silence after which a stream gets a heartbeat (a comment), and the time between two PINGs to Redis.
   * `false`: no heartbeats, and a PING every 15 s. Without heartbeats a client cannot tell a dead connection from a silent one.
   *
   * @defaultValue 15_000
   */
  readonly heartbeatMs?: number | false | undefined;
  /**
   * Milliseconds that a client waits before it reconnects: the `retry:` field.
   *
   * @defaultValue 2_000
   */
  readonly retryMs?: number | undefined;
  /**
   * How events of a slow client are handled. A mount can override it.
   *
   * @defaultValue "disconnect"
   */
  readonly slowConsumer?: SlowConsumerPolicy | undefined;
  /** Limits for streams, events and waits. */
  readonly limits?: LimitOptions | undefined;
  /**
   * Signs the event ids of mounts with `resume: "since-admission"` or `{ maxAgeMs }`. At least 32 characters, chosen at random.
   *
   * All processes need the same secret. To replace it, pass an array: the first secret signs, and all of them verify. First add
   * the new secret at the end in all processes, then move it to the front, then remove the old one.
   *
   * @defaultValue none
   */
  readonly secret?: string | readonly string[] | undefined;
  /**
   * Receives the messages of the service, each as one finished string. Messages about one stream go only to the `debug`
   * package.
   *
   * @defaultValue warnings and errors go to the console, the others to the `debug` package (`DEBUG=redis-sse:service`)
   */
  readonly logger?: Logger | undefined;
  /** The source of time. Tests pass a fake clock. */
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
  readonly secrets: readonly string[] | null;
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

/** The first TCP retransmissions take about 1 s. A character has up to 4 bytes. */
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
  "secret",
  "logger",
  "clock",
]);

/** Checks the options and fills in the defaults. Throws `ConfigError` with the name of the invalid option. */
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
    secrets: readSecret(options.secret),
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
