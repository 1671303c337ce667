import { randomUUID } from "node:crypto";

import type { Redis, RedisOptions } from "ioredis";

import { assertOptions, optionError } from "../lib/adapter.js";
import { ConfigError, type Clock, type RedisSource } from "../lib/index.js";
import { isFakeClock } from "./fake-clock.js";
import { loadMock } from "./mock-module.js";
import { TestConnection, type ServerState } from "./test-connection.js";

/** Options of `TestRedis.stop()`. */
export interface StopRedisOptions {
  /**
   * What commands do while Redis is unavailable.
   *
   * - `"reject"`: They reject at once with `REDIS_UNAVAILABLE`. With a real server this takes up to 5 s.
   * - `"wait"`: They wait for `start()`. After 5,000 ms they reject.
   *
   * @defaultValue "reject"
   */
  readonly commands?: "reject" | "wait" | undefined;
}

/** Calls that `TestRedis.refuse()` refuses. If you set both options, only this command on this channel is refused. */
export interface RefusedCalls {
  /** A command name, such as `"xadd"`. The command is also refused inside the scripts of this library. */
  readonly command?: string | undefined;
  /** A channel, or a pattern with `*`. Without `command`, SUBSCRIBE and PUBLISH are refused. */
  readonly channel?: string | undefined;
}

interface Rule {
  readonly text: (command: string) => string;
  readonly matches: (command: string, channels: readonly string[], hasWritten: boolean) => boolean;
}

const STOP_OPTIONS: ReadonlySet<string> = new Set<keyof StopRedisOptions>(["commands"]);
const REFUSED: ReadonlySet<string> = new Set<keyof RefusedCalls>(["command", "channel"]);

/** The error messages of Redis for these codes. */
const TEXTS: Readonly<Record<string, (command: string) => string>> = {
  OOM: () => "OOM command not allowed when used memory > 'maxmemory'.",
  READONLY: () => "READONLY You can't write against a read only replica.",
  NOPERM: (command) => `NOPERM this user has no permissions to run the '${command}' command`,
};

/** A process can have several copies of this package, as for `FakeClock`. */
const BRAND: unique symbol = Symbol.for("redis-sse/testing/TestRedis") as never;

export function isTestRedis(value: unknown): value is TestRedis {
  return typeof value === "object" && value !== null && BRAND in value;
}

/**
 * The in-memory Redis of a test service. You get it as `sse.redis`.
 *
 * Its methods simulate faults of a real Redis. They affect all services and clients of this Redis.
 */
export class TestRedis {
  /** @internal */
  readonly [BRAND] = true as const;
  readonly #server: ServerState;
  readonly #rules = new Set<Rule>();
  /** @internal Services on this Redis: those before `close()`, and those during `close()`. */
  readonly users: { open: number; unfinished: number } = { open: 0, unfinished: 0 };

  /** @internal Made by `createTestSse()`. Throws `MOCK_MISSING`. */
  constructor(clock: Clock) {
    const rules = this.#rules;
    this.#server = {
      mock: loadMock(),
      host: `redis-sse-testing-${randomUUID()}`,
      clock,
      connections: new Set(),
      isStopped: false,
      isPaused: false,
      latencyMs: 0,
      keepsCommands: false,
      onCommand: () => {
        if (isFakeClock(clock)) clock.touch();
      },
      refusesAny: () => rules.size > 0,
      refusal(...call) {
        for (const { matches, text } of rules) if (matches(...call)) return text(call[0]);
        return null;
      },
    };
  }

  /**
   * Stops Redis. All connections are lost, and clients cannot connect until `start()`. The data stays.
   *
   * Streams on the shared connection stay open. Streams with a dedicated connection end. Throws `ConfigError` if an option is
   * invalid.
   */
  stop(options: StopRedisOptions = {}): void {
    assertOptions("stop()", options, STOP_OPTIONS);
    const { commands = "reject" } = options;
    if (commands !== "reject" && commands !== "wait") {
      throw optionError('commands as "reject" or "wait"', commands);
    }
    this.#server.keepsCommands = commands === "wait";
    this.#server.isStopped = true;
    for (const connection of Array.from(this.#server.connections)) connection.stopped();
  }

  /** Starts Redis again after `stop()`. Clients reconnect at once, without the delays of ioredis. */
  start(): void {
    this.#server.isStopped = false;
    this.#returned();
  }

  /**
   * Freezes Redis. Connections stay open, but commands get no answer until `resume()`.
   *
   * After 5,000 ms without an answer, a command rejects and its connection counts as lost. The service's clock measures this.
   */
  pause(): void {
    this.#server.isPaused = true;
  }

  /** Ends `pause()`. The waiting commands are executed in order. */
  resume(): void {
    this.#server.isPaused = false;
    this.#returned();
  }

  /** Delays each later command by `ms` milliseconds of the service's clock. 0 ends the delay. Throws `ConfigError` if `ms` is invalid. */
  setLatency(ms: number): void {
    if (!(Number.isFinite(ms) && ms >= 0)) throw optionError("ms as a number of milliseconds from 0", ms);
    this.#server.latencyMs = ms;
  }

  /**
   * Makes Redis refuse commands with an error. Returns a function that ends this.
   *
   * `error` is a Redis error code such as `"OOM"`, `"READONLY"` or `"NOPERM"`. It can also be a whole error message that
   * starts with a code. `calls` selects the refused commands. Without `calls`, `"OOM"` refuses all commands that need memory,
   * and `"READONLY"` refuses all commands that write.
   *
   * If a connection is subscribed to a channel that is now refused, Redis closes the connection. Throws `ConfigError` if an
   * argument is invalid.
   *
   * @example
   * sse.redis.refuse("OOM");
   * sse.redis.refuse("NOPERM", { channel: "user:*" });
   * sse.redis.refuse("NOPERM", { command: "xadd" });
   */
  refuse(error: string, calls: RefusedCalls = {}): () => void {
    if (typeof error !== "string" || !/^[A-Z]{2,16}( |$)/.test(error)) {
      throw optionError("error as a Redis error code, or as a message that starts with a code", error);
    }
    assertOptions("refuse()", calls, REFUSED);
    const { command, channel } = calls;
    for (const [name, value] of Object.entries({ command, channel })) {
      if (value !== undefined && (typeof value !== "string" || value === "")) {
        throw optionError(`${name} as a non-empty string`, value);
      }
    }
    const rule = { text: textOf(error), matches: this.#matcherOf(error, command?.toLowerCase(), channel) };
    this.#rules.add(rule);
    if (channel !== undefined && (command === undefined || command.toLowerCase() === "subscribe")) {
      const isRevoked = matchChannel(channel);
      for (const connection of Array.from(this.#server.connections)) connection.revoke(isRevoked);
    }
    return () => void this.#rules.delete(rule);
  }

  /** Ends all faults. Calls `start()` and `resume()`, ends the delay, and allows all commands. */
  recover(): void {
    this.#rules.clear();
    this.#server.latencyMs = 0;
    this.#server.isPaused = false;
    this.start();
  }

  /**
   * Creates an ioredis client of this Redis.
   *
   * Use it if your app uses Redis directly, or to read the data in a test. The faults affect it too. It connects at once,
   * unless `lazyConnect` is true. After a reconnect it subscribes again, unless `autoResubscribe` is false. `options` are the
   * options of ioredis. `host`, `port` and `enableOfflineQueue` have no effect. The client has no `status`.
   */
  createClient(options: RedisOptions = {}): Redis {
    return new TestConnection(this.#server, options).client;
  }

  /** @internal For the option `redis` of a service. The service duplicates the client for each connection. */
  get source(): RedisSource {
    return { duplicate: (options: RedisOptions) => this.createClient(options) } as unknown as Redis;
  }

  /** @internal */
  get clock(): Clock {
    return this.#server.clock;
  }

  /** @internal Ends all clients and removes all data. ioredis-mock never frees data by itself. */
  async clear(): Promise<void> {
    await this.createClient({ lazyConnect: true }).flushall();
    for (const connection of Array.from(this.#server.connections)) connection.client.disconnect();
  }

  #returned(): void {
    for (const connection of Array.from(this.#server.connections)) connection.returned();
  }

  #matcherOf(error: string, command: string | undefined, channel: string | undefined): Rule["matches"] {
    const { hasFlag } = this.#server.mock;
    if (channel !== undefined) {
      const isRefused = matchChannel(channel);
      return (name, channels) => (command ?? name) === name && channels.some(isRefused);
    }
    if (command !== undefined) return (name) => name === command;
    // Redis checks its memory only before the first write of a script.
    if (error.startsWith("OOM")) return (name, _, hasWritten) => !hasWritten && hasFlag(name, "denyoom");
    if (error.startsWith("READONLY")) return (name) => hasFlag(name, "write");
    throw new ConfigError(
      'refuse() needs a command or a channel. Only the errors "OOM" and "READONLY" work without both.',
    );
  }
}

function textOf(error: string): Rule["text"] {
  const known = TEXTS[error];
  if (known !== undefined) return known;
  return () => (error.includes(" ") ? error : `${error} refused by a test`);
}

function matchChannel(pattern: string): (channel: string) => boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[$()*+.?[\\\]^{|}]/g, "\\$&"));
  const expression = new RegExp(`^${parts.join(".*")}$`, "s");
  return (channel) => expression.test(channel);
}
