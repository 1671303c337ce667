import { Redis, type Cluster, type RedisOptions } from "ioredis";

import { ConfigError, sanitize } from "../errors.js";
import { createLog } from "../log.js";
import type { ConnectionOptions, ConnectionRole, RedisClient } from "./client.js";
import { connectToCluster } from "./cluster.js";
import { connectionName } from "./connection-name.js";

/** What an app may give as `redis`: its own client, ioredis options, or a URL. */
export type RedisSource = Redis | Cluster | RedisOptions | string;

/** Makes a new connection for a role; nothing is sent before its first command or `connect()`. */
export type ConnectionFactory = (role: ConnectionRole) => RedisClient;

const log = createLog("pool");

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
): ConnectionFactory {
  const connect = connector(source === undefined ? defaultUrl() : source);
  return (role) => {
    const client = connect(role, { ...optionsFor(role), connectionName: connectionName(role, instance) });
    // An `error` without a listener is printed by ioredis as it is; ours says a code and no secret.
    client.on("error", (error: unknown) => log("%s connection: %s", role, sanitize(error).message));
    return client;
  };
}

function defaultUrl(): string {
  return process.env["REDIS_URL"] || "redis://127.0.0.1:6379";
}

function connector(source: RedisSource): (role: ConnectionRole, options: ConnectionOptions) => RedisClient {
  if (typeof source === "string") {
    assertUrl(source);
    // Options in a URL would win over ours; those of a client that is duplicated do not.
    return connector(new Redis(source, { lazyConnect: true }));
  }
  if (typeof source !== "object" || source === null) {
    throw new ConfigError(`expected redis as an ioredis client, its options or a URL, got ${typeof source}`);
  }
  if ("url" in source) {
    // Other clients take it so; ioredis would ignore it, and connect to localhost.
    throw new ConfigError("expected redis as a URL itself, not as an object with a url");
  }
  if (isCluster(source)) return connectToCluster(source);
  if (isClient(source)) return (_role, options) => source.duplicate(options);
  return (_role, options) => new Redis({ ...source, ...options });
}

const isCluster = (source: object): source is Cluster => "isCluster" in source && source.isCluster === true;
const isClient = (source: object): source is Redis =>
  "duplicate" in source && typeof source.duplicate === "function";

/** Node's own error for a malformed URL has the URL, and with it the password, in `input`. */
function assertUrl(source: string): void {
  if (source.startsWith("/")) return; // a Unix socket
  let protocol: string;
  try {
    // Decoding finds the stray percent signs that ioredis would throw at later, with the text in hand.
    const url = new URL(source);
    decodeURIComponent(`${url.username}${url.password}`);
    protocol = url.protocol;
  } catch {
    throw new ConfigError("expected redis as a valid URL, redis[s]://[[user]:password@]host[:port][/db]");
  }
  if (protocol !== "redis:" && protocol !== "rediss:") {
    throw new ConfigError("expected redis as a URL that begins with redis:// or rediss://");
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
