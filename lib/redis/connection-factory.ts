import { Redis, type Cluster, type RedisOptions } from "ioredis";

import { ConfigError } from "../errors.js";
import { describe, isThenable } from "../validate.js";
import { isRefusedSelect, type ConnectionOptions, type ConnectionRole, type RedisClient } from "./client.js";
import { connectToCluster } from "./cluster.js";
import type { ConnectionMonitor } from "./connection-monitor.js";
import { connectionName } from "./connection-name.js";

/** What an app may give as `redis`: its own client, ioredis options, or a URL. */
export type RedisSource = Redis | Cluster | RedisOptions | string;

/** Makes a new connection for a role; nothing is sent before its first command or `connect()`. */
export type ConnectionFactory = (role: ConnectionRole) => RedisClient;

const CONNECT_TIMEOUT_MS = 5_000;
/** A written command whose answer takes longer means a dead link; ioredis arms it with each write. */
const SOCKET_TIMEOUT_MS = 5_000;
const COMMAND_TIMEOUT_MS = 5_000;
/** One connection a process comes back to Redis, so its pauses may be short: streams live again soon after. */
const MAX_BACKOFF_MS = 1_000;
const BACKOFF_JITTER_MS = 500;

/** The source may be a client of the app's own: it is duplicated, and itself never used, changed or closed. */
export function createConnectionFactory(
  source: RedisSource | undefined,
  instance: string,
  monitor: Pick<ConnectionMonitor, "watch">,
): ConnectionFactory {
  const connect = source === undefined ? connectorOfEnvironment() : connector(source);
  return (role) => {
    const client = connect(role, { ...optionsFor(role), connectionName: connectionName(role, instance) });
    // ioredis prints an `error` without a listener as it is, with its secrets.
    monitor.watch(role, client);
    // ioredis would go on, and use database 0.
    client.on("error", (error: unknown) => {
      if (isRefusedSelect(error) && "stream" in client) client.stream.destroy();
    });
    return client;
  };
}

function connectorOfEnvironment(): Connector {
  const url = process.env["REDIS_URL"];
  return url ? connector(url, "the environment variable REDIS_URL") : connector("redis://127.0.0.1:6379");
}

type Connector = (role: ConnectionRole, options: ConnectionOptions) => RedisClient;

function connector(source: RedisSource, name = "redis"): Connector {
  if (typeof source === "string") {
    assertUrl(source, name);
    // Options in a URL would win over ours; those of a client that is duplicated do not.
    return connector(new Redis(source, { lazyConnect: true }), name);
  }
  if (typeof source !== "object" || source === null) {
    throw new ConfigError(
      `expected redis as an ioredis client, its options or a URL, got ${describe(source)}`,
    );
  }
  if ("url" in source) {
    // Other clients take it so; ioredis would ignore it, and connect to localhost.
    throw new ConfigError("expected redis as a URL itself, not as an object with a url");
  }
  if (isForeignClient(source)) {
    throw new ConfigError("expected redis as a client of ioredis, got a client of another package");
  }
  if (isCluster(source)) return connectToCluster(source);
  if (isClient(source)) {
    assertTarget(source.options, name);
    return (_role, options) => source.duplicate(options);
  }
  assertRedisOptions(source);
  return (_role, options) => new Redis({ ...source, ...options });
}

const isCluster = (source: object): source is Cluster => "isCluster" in source && source.isCluster === true;
const isClient = (source: object): source is Redis => hasFunction(source, "duplicate");
/** A client of node-redis, of any version. */
const isForeignClient = (source: object): boolean =>
  !hasFunction(source, "defineCommand") &&
  (hasFunction(source, "sendCommand") || hasFunction(source, "send_command"));

function hasFunction(source: object, name: string): boolean {
  return typeof (source as Readonly<Record<string, unknown>>)[name] === "function";
}

/** Options of ioredis that have no default. */
const WITHOUT_DEFAULT = [
  "path",
  "tls",
  "commandTimeout",
  "socketTimeout",
  "sentinelUsername",
  "sentinelPassword",
  "sentinelTLS",
  "sentinelCommandTimeout",
  "preferredSlaves",
  "scripts",
  "monitor",
  "Connector",
];

/** ioredis ignores names that it does not know, and would connect to localhost. */
function assertRedisOptions(source: object): void {
  const names = Object.keys(source);
  const known = new Set([...Object.keys(new Redis({ lazyConnect: true }).options), ...WITHOUT_DEFAULT]);
  // A promise, a URL object or a Map has no names at all.
  const isEmpty = names.length === 0 && isPlain(source);
  if (!isEmpty && !names.some((name) => known.has(name))) {
    const given = isThenable(source) ? "a promise: await it" : "an object with no option of ioredis";
    throw new ConfigError(
      `expected redis as an ioredis client, its options (host, port, ...) or a URL as text, got ${given}`,
    );
  }
  assertTarget(source, "redis");
}

function isPlain(source: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(source);
  return prototype === null || (!Array.isArray(source) && Object.getPrototypeOf(prototype) === null);
}

/** Checks what ioredis would notice at the first use only, or would not notice. */
function assertTarget(options: object | undefined, name: string): void {
  const {
    host,
    path,
    port,
    db,
    sentinels,
    name: master,
  } = (options ?? {}) as Readonly<Record<string, unknown>>;
  // A URL in the place of a host would be looked up as a name, and written to the log with its password.
  if (!isTextWithout(/[/@]/, host)) {
    throw new ConfigError(`expected ${name}.host as the name of a host. Pass a URL as redis itself`);
  }
  if (!isTextWithout(/:\/\//, path))
    throw new ConfigError(`expected ${name}.path as the path of a Unix socket`);
  if (!isNumberUpTo(port, 65_535)) throw new ConfigError(`expected ${name}.port as a number from 0 to 65535`);
  if (!isNumberUpTo(db, MAX_DB)) {
    throw new ConfigError(`expected ${name}.db as the number of a database, such as 0`);
  }
  if (sentinels === undefined || sentinels === null) return;
  if (!Array.isArray(sentinels) || sentinels.length === 0) {
    throw new ConfigError(`expected ${name}.sentinels as a non-empty array of addresses`);
  }
  if (typeof master !== "string" || master === "") {
    throw new ConfigError(`expected ${name}.name as the name of the master that the Sentinels watch`);
  }
}

function isTextWithout(pattern: RegExp, value: unknown): boolean {
  return value === undefined || value === null || (typeof value === "string" && !pattern.test(value));
}

const MAX_DB = 2 ** 31 - 1;

/** Also as text, as ioredis takes it from the environment. */
function isNumberUpTo(value: unknown, max: number): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value !== "number" && typeof value !== "string") return false;
  return /^\d{1,10}$/.test(String(value)) && Number(value) <= max;
}

/** Node's own error for a malformed URL has the URL, and with it the password, in `input`. */
function assertUrl(source: string, name: string): void {
  if (/^\/(?!\/)/.test(source)) return; // a Unix socket
  let databases: readonly string[];
  try {
    // Decoding finds the stray percent signs that ioredis would throw at later, with the text in hand.
    const url = new URL(source);
    decodeURIComponent(`${url.username}${url.password}`);
    databases = [url.pathname.replace(/^\/|\/$/g, ""), ...url.searchParams.getAll("db")];
  } catch {
    throw new ConfigError(`expected ${name} as a valid URL, redis[s]://[[user]:password@]host[:port][/db]`);
  }
  // Of the text, not of the URL: ioredis takes " rediss://h" for a host, and REDISS://h for a connection without TLS.
  if (!/^rediss?:\/\//.test(source)) {
    throw new ConfigError(`expected ${name} as a URL that begins with redis:// or rediss://`);
  }
  if (!databases.every((database) => database === "" || isNumberUpTo(database, MAX_DB))) {
    throw new ConfigError(
      `expected the path of ${name} as the number of a database, such as redis://host:6379/0`,
    );
  }
}

/** Every option that matters is set here: `duplicate()` would carry over the app's. */
function optionsFor(role: ConnectionRole): ConnectionOptions {
  const common: ConnectionOptions = {
    replyMapping: "legacy",
    lazyConnect: true,
    keyPrefix: "",
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    // A Sentinel that accepts and says nothing would keep the process awake, beyond the reach of close().
    sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    enableReadyCheck: true,
    enableOfflineQueue: true,
    enableAutoPipelining: false,
    // In 6.0.0 one refused channel at a reconnect rejects uncaught and leaves all channels deaf: the hub
    // resubscribes by itself. What was sent and not answered is sent again, in its order.
    autoResubscribe: false,
    autoResendUnfulfilledCommands: true,
    monitor: false,
    readOnly: false,
    stringNumbers: false,
    // An app's own would reconnect at a refused SUBSCRIBE, and take all other streams with it.
    reconnectOnError: null,
    retryStrategy: backoff,
  };
  switch (role) {
    case "command":
      return { ...common, commandTimeout: COMMAND_TIMEOUT_MS, maxRetriesPerRequest: 2 };
    case "subscriber":
      // A client-side timeout would leave a ghost: the server subscribes all the same. The link has its
      // own deadline (socketTimeout), and those who wait have theirs.
      return { ...common, commandTimeout: undefined, maxRetriesPerRequest: null };
    case "lease":
      // A lease that cannot connect fails once and is given back. With ioredis' default it would go on
      // trying for ever and take the next free slot: the incident that this library was made for.
      return { ...common, commandTimeout: undefined, maxRetriesPerRequest: 0, retryStrategy: () => null };
  }
}

function backoff(times: number): number {
  const pauseMs = Math.min(50 * 2 ** Math.min(times - 1, 10), MAX_BACKOFF_MS);
  return pauseMs + Math.floor(Math.random() * BACKOFF_JITTER_MS);
}
