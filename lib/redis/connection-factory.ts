import { Redis, type Cluster, type RedisOptions } from "ioredis";

import { ConfigError } from "../errors.js";
import { describe, isThenable } from "../validate.js";
import { isRefusedSelect, type ConnectionOptions, type ConnectionRole, type RedisClient } from "./client.js";
import { connectToCluster } from "./cluster.js";
import type { ConnectionMonitor } from "./connection-monitor.js";
import { connectionName } from "./connection-name.js";

/** The option `redis`: an ioredis client, ioredis options, or a URL. */
export type RedisSource = Redis | Cluster | RedisOptions | string;

/** Creates a connection for a role. It connects with its first command, or when `connect()` is called. */
export type ConnectionFactory = (role: ConnectionRole) => RedisClient;

const CONNECT_TIMEOUT_MS = 5_000;
/** If a written command gets no answer in this time, the connection is dead. ioredis starts this deadline with each write. */
const SOCKET_TIMEOUT_MS = 5_000;
const COMMAND_TIMEOUT_MS = 5_000;
/** Each process reconnects to Redis with few connections, so short pauses do no harm. Streams then get events again sooner. */
const MAX_BACKOFF_MS = 1_000;
const BACKOFF_JITTER_MS = 500;

/** Creates the factory of all connections. A client of the application is duplicated, and never used, changed or closed itself. */
export function createConnectionFactory(
  source: RedisSource | undefined,
  instance: string,
  monitor: Pick<ConnectionMonitor, "watch">,
): ConnectionFactory {
  const connect = source === undefined ? connectorOfEnvironment() : connector(source);
  return (role) => {
    const client = connect(role, { ...optionsFor(role), connectionName: connectionName(role, instance) });
    // Without a listener, ioredis prints an `error` with all its secrets.
    monitor.watch(role, client);
    // Otherwise ioredis continues with database 0.
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
    // Options in a URL would override ours. With `duplicate()`, our options have priority.
    return connector(new Redis(source, { lazyConnect: true }), name);
  }
  if (typeof source !== "object" || source === null) {
    throw new ConfigError(
      `expected redis as an ioredis client, ioredis options or a URL, got ${describe(source)}`,
    );
  }
  if ("url" in source) {
    // Other Redis packages accept this. ioredis would ignore it and connect to localhost.
    throw new ConfigError("expected redis as a URL string, got an object with url. Pass the URL itself.");
  }
  if (isForeignClient(source)) {
    throw new ConfigError("expected redis as an ioredis client, got a client of another package");
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
/** Whether this is a client of node-redis, of any version. */
const isForeignClient = (source: object): boolean =>
  !hasFunction(source, "defineCommand") &&
  (hasFunction(source, "sendCommand") || hasFunction(source, "send_command"));

function hasFunction(source: object, name: string): boolean {
  return typeof (source as Readonly<Record<string, unknown>>)[name] === "function";
}

/** The ioredis options without a default value. */
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

/** Checks ioredis options. ioredis ignores unknown names, and would connect to localhost. */
function assertRedisOptions(source: object): void {
  const names = Object.keys(source);
  const known = new Set([...Object.keys(new Redis({ lazyConnect: true }).options), ...WITHOUT_DEFAULT]);
  // A promise, a URL object and a Map have no option names.
  const isEmpty = names.length === 0 && isPlain(source);
  if (!isEmpty && !names.some((name) => known.has(name))) {
    const given = isThenable(source) ? "a promise: await it" : "an object with no option of ioredis";
    throw new ConfigError(
      `expected redis as an ioredis client, ioredis options (host, port, ...) or a URL, got ${given}`,
    );
  }
  assertTarget(source, "redis");
}

function isPlain(source: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(source);
  return prototype === null || (!Array.isArray(source) && Object.getPrototypeOf(prototype) === null);
}

/** Checks options that ioredis would refuse only at the first use, or would ignore. */
function assertTarget(options: object | undefined, name: string): void {
  const {
    host,
    path,
    port,
    db,
    sentinels,
    name: master,
  } = (options ?? {}) as Readonly<Record<string, unknown>>;
  // ioredis would look up a URL as a host name, and the log would contain its password.
  if (!isTextWithout(/[/@]/, host)) {
    throw new ConfigError(`expected ${name}.host as a host name. Pass a URL as redis itself`);
  }
  if (!isTextWithout(/:\/\//, path))
    throw new ConfigError(`expected ${name}.path as the path of a Unix socket`);
  if (!isNumberUpTo(port, 65_535)) throw new ConfigError(`expected ${name}.port as a number from 0 to 65535`);
  if (!isNumberUpTo(db, MAX_DB)) {
    throw new ConfigError(`expected ${name}.db as a database number, for example 0`);
  }
  if (sentinels === undefined || sentinels === null) return;
  if (!Array.isArray(sentinels) || sentinels.length === 0) {
    throw new ConfigError(`expected ${name}.sentinels as a non-empty array of addresses`);
  }
  if (typeof master !== "string" || master === "") {
    throw new ConfigError(`expected ${name}.name as the name of the master that the Sentinels monitor`);
  }
}

function isTextWithout(pattern: RegExp, value: unknown): boolean {
  return value === undefined || value === null || (typeof value === "string" && !pattern.test(value));
}

const MAX_DB = 2 ** 31 - 1;

/** Accepts text too, because ioredis accepts numbers as text, for example from environment variables. */
function isNumberUpTo(value: unknown, max: number): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value !== "number" && typeof value !== "string") return false;
  return /^\d{1,10}$/.test(String(value)) && Number(value) <= max;
}

/** Checks a URL. Node's error for a malformed URL contains the URL with its password, so it is replaced. */
function assertUrl(source: string, name: string): void {
  if (/^\/(?!\/)/.test(source)) return; // a Unix socket
  let databases: readonly string[];
  try {
    // Finds invalid percent signs. ioredis would throw a later error that contains the text.
    const url = new URL(source);
    decodeURIComponent(`${url.username}${url.password}`);
    databases = [url.pathname.replace(/^\/|\/$/g, ""), ...url.searchParams.getAll("db")];
  } catch {
    throw new ConfigError(`expected ${name} as a valid URL, redis[s]://[[user]:password@]host[:port][/db]`);
  }
  // Checks the text, because `new URL()` is more tolerant: ioredis reads " rediss://h" as a host, and REDISS://h without TLS.
  if (!/^rediss?:\/\//.test(source)) {
    throw new ConfigError(`expected ${name} as a URL that starts with redis:// or rediss://`);
  }
  if (!databases.every((database) => database === "" || isNumberUpTo(database, MAX_DB))) {
    throw new ConfigError(
      `expected the path of ${name} as a database number, for example redis://host:6379/0`,
    );
  }
}

/** Sets every relevant option, because `duplicate()` copies the options of the application. */
function optionsFor(role: ConnectionRole): ConnectionOptions {
  const common: ConnectionOptions = {
    replyMapping: "legacy",
    lazyConnect: true,
    keyPrefix: "",
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    // Without it, a Sentinel that accepts connections but never answers would keep the process alive after close().
    sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    enableReadyCheck: true,
    enableOfflineQueue: true,
    enableAutoPipelining: false,
    // The hub resubscribes itself: in ioredis 6.0.0, one denied channel at a reconnect causes an unhandled rejection and leaves all
    // channels without a subscription. Commands without an answer are sent again in the same order.
    autoResubscribe: false,
    autoResendUnfulfilledCommands: true,
    monitor: false,
    readOnly: false,
    stringNumbers: false,
    // The function of an application could reconnect after a denied SUBSCRIBE, which would interrupt all other streams.
    reconnectOnError: null,
    retryStrategy: backoff,
  };
  switch (role) {
    case "command":
      return { ...common, commandTimeout: COMMAND_TIMEOUT_MS, maxRetriesPerRequest: 2 };
    case "subscriber":
      // After a timeout on the client side, the server would still subscribe. The connection has its own deadline
      // (`socketTimeout`), and so have the callers.
      return { ...common, commandTimeout: undefined, maxRetriesPerRequest: null };
    case "lease":
      // If a lease cannot connect, it fails once and is released. With the default of ioredis, it would try to connect without
      // end and use a slot on the server.
      return { ...common, commandTimeout: undefined, maxRetriesPerRequest: 0, retryStrategy: () => null };
  }
}

function backoff(times: number): number {
  const pauseMs = Math.min(50 * 2 ** Math.min(times - 1, 10), MAX_BACKOFF_MS);
  return pauseMs + Math.floor(Math.random() * BACKOFF_JITTER_MS);
}
