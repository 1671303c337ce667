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
   * What happens to commands while Redis is away. `"reject"`: they reject at once with `REDIS_UNAVAILABLE`. Against a real
   * server that takes up to 5 s. `"wait"`: they wait for `start()`, or until their deadline of 5,000 ms.
   *
   * @defaultValue "reject"
   */
  readonly commands?: "reject" | "wait" | undefined;
}

/** What `TestRedis.refuse()` refuses. With both, only this command on this channel. */
export interface RefusedCalls {
  /** The name of a command, such as `"xadd"`. It is also refused inside the scripts of this library. */
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

/** What Redis says after these codes. */
const TEXTS: Readonly<Record<string, (command: string) => string>> = {
  OOM: () => "OOM command not allowed when used memory > 'maxmemory'.",
  READONLY: () => "READONLY You can't write against a read only replica.",
  NOPERM: (command) => `NOPERM this user has no permissions to run the '${command}' command`,
};

/** As with `FakeClock`: there may be several copies of this package. */
const BRAND: unique symbol = Symbol.for("redis-sse/testing/TestRedis") as never;

export function isTestRedis(value: unknown): value is TestRedis {
  return typeof value === "object" && value !== null && BRAND in value;
}

/**
 * The in-memory Redis of a test service, as `sse.redis`. Its methods cause the faults that a real Redis has. They take effect
 * on all services and clients of this Redis.
 */
export class TestRedis {
  /** @internal */
  readonly [BRAND] = true as const;
  readonly #server: ServerState;
  readonly #rules = new Set<Rule>();
  /** @internal The services on this Redis: those whose close() was not called, and those whose close() is not done. */
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
   * Stops Redis: all connections are lost, and none can be made until `start()`. The data stays. Streams on the shared
   * connection stay open, and streams with a connection of their own end. Throws `ConfigError`.
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

  /** Starts Redis again after `stop()`. Connections come back at once, without the pauses of ioredis. */
  start(): void {
    this.#server.isStopped = false;
    this.#returned();
  }

  /**
   * Freezes Redis: connections stay open, and commands get no answer until `resume()`. By the clock of the service, a
   * command rejects after 5,000 ms, and a connection that has waited 5,000 ms for an answer counts as lost.
   */
  pause(): void {
    this.#server.isPaused = true;
  }

  /** Ends `pause()`. The commands that still wait are executed in order. */
  resume(): void {
    this.#server.isPaused = false;
    this.#returned();
  }

  /** Has each command that is sent from now on take `ms` milliseconds of the service's clock; 0: none. Throws `ConfigError`. */
  setLatency(ms: number): void {
    if (!(Number.isFinite(ms) && ms >= 0)) throw optionError("ms as a number of milliseconds from 0", ms);
    this.#server.latencyMs = ms;
  }

  /**
   * Has Redis refuse commands with an error, and returns a function that ends this.
   *
   * `error` is a code of Redis, such as `"OOM"`, `"READONLY"` or `"NOPERM"`, or a whole error message that begins with one. What is
   * refused is up to `calls`. Without `calls`, `"OOM"` refuses every command that needs memory, and `"READONLY"` every
   * command that writes. If a connection is subscribed to a channel that is now refused, Redis closes that connection.
   * Throws `ConfigError`.
   *
   * @example
   * sse.redis.refuse("OOM");
   * sse.redis.refuse("NOPERM", { channel: "user:*" });
   * sse.redis.refuse("NOPERM", { command: "xadd" });
   */
  refuse(error: string, calls: RefusedCalls = {}): () => void {
    if (typeof error !== "string" || !/^[A-Z]{2,16}( |$)/.test(error)) {
      throw optionError("error as a code of Redis, or a message that begins with one", error);
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

  /** Ends all faults: as `start()` and `resume()`, without latency, and nothing is refused. */
  recover(): void {
    this.#rules.clear();
    this.#server.latencyMs = 0;
    this.#server.isPaused = false;
    this.start();
  }

  /**
   * Creates an ioredis client of this Redis: for an app that uses Redis itself, or to look at the data in a test. The faults
   * apply to it too. It connects at once, unless `lazyConnect` is true. After a connection was lost, it subscribes again to the
   * channels and patterns that it had, unless `autoResubscribe` is false. `options` are those of ioredis; `host`, `port` and
   * `enableOfflineQueue` have no effect. The client has no `status`.
   */
  createClient(options: RedisOptions = {}): Redis {
    return new TestConnection(this.#server, options).client;
  }

  /** @internal As the option `redis` of a service, which duplicates it for each of its connections. */
  get source(): RedisSource {
    return { duplicate: (options: RedisOptions) => this.createClient(options) } as unknown as Redis;
  }

  /** @internal */
  get clock(): Clock {
    return this.#server.clock;
  }

  /** @internal Ends all clients, and removes all data. ioredis-mock itself never lets go of it. */
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
    // Redis looks at its memory only before the first write of a script.
    if (error.startsWith("OOM")) return (name, _, hasWritten) => !hasWritten && hasFlag(name, "denyoom");
    if (error.startsWith("READONLY")) return (name) => hasFlag(name, "write");
    throw new ConfigError('refuse() needs a command or a channel, unless the error is "OOM" or "READONLY"');
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
