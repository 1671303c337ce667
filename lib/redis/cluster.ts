import { Redis, type Cluster, type RedisOptions } from "ioredis";

import {
  isMock,
  onDestroy,
  type ConnectionOptions,
  type ConnectionRole,
  type RedisClient,
} from "./client.js";

/** Deadline for a command. It is the same as the deadline of a single connection. */
const DEADLINE_MS = 5_000;
const RETRY_MS = 100;
const SLOTS_REFRESH_MS = 15_000;

type Command = Parameters<Redis["sendCommand"]>[0];

/** Creates the connections of a service that uses a Redis Cluster. */
export type ClusterConnector = (role: ConnectionRole, options: ConnectionOptions) => RedisClient;

/** The address of a node, and the options that apply only to it. */
type Node = Pick<RedisOptions, "host" | "port" | "username" | "password" | "tls" | "family">;

/**
 * Creates connections to a Redis Cluster. Commands use a Cluster client. Subscriptions use a plain connection to one node, because
 * every node gets every published event.
 *
 * The subscriber of an ioredis Cluster client is not used. It can switch to another node without an event, so a loss would not be
 * noticed. If the plain connection is lost, the service tries another node.
 */
export function connectToCluster(source: Cluster): ClusterConnector {
  let commands: Cluster | null = null;
  return (role, options) => {
    if (role === "command") return (commands = createCommandClient(source, options));
    return createNodeClient(() => nodesOf(commands, source), source, options);
  };
}

/** Sets every relevant option of a Cluster client, because `duplicate()` copies the options of the application. */
function createCommandClient(source: Cluster, options: ConnectionOptions): Cluster {
  const { retryStrategy, ...redisOptions } = options;
  const client = source.duplicate([], {
    redisOptions,
    lazyConnect: true,
    keyPrefix: "",
    scaleReads: "master",
    enableOfflineQueue: true,
    enableReadyCheck: true,
    enableAutoPipelining: false,
    shardedSubscribers: false,
    clusterNodeRetryStrategy: null,
    clusterRetryStrategy: (times: number) => retryStrategy(times),
    // Otherwise an added or lost node would be noticed only by a command for this node.
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    // A slot that moves, or that has lost its master, is available again within seconds.
    maxRedirections: 1_000,
    retryDelayOnMoved: 0,
    retryDelayOnFailover: RETRY_MS,
    retryDelayOnClusterDown: RETRY_MS,
    retryDelayOnTryAgain: RETRY_MS,
  });
  withoutSubscriber(client);
  withDeadline(client);
  return client;
}

/** Prevents the subscriber connection of an ioredis Cluster client. The service does not use it, and cannot set its name. */
function withoutSubscriber(client: Cluster): void {
  const { subscriber } = client as unknown as { subscriber?: { start?: () => void } };
  if (typeof subscriber?.start === "function") subscriber.start = () => {};
}

/**
 * Adds a deadline to every command of a Cluster client. `commandTimeout` starts only when a command has reached a node, so without a
 * node a command could wait without limit.
 *
 * After its deadline, a command is never sent again, because its caller may have tried again.
 */
function withDeadline(client: Cluster): void {
  const send = client.sendCommand.bind(client);
  const seen = new WeakSet<Command>();
  const pending = new Set<Command>();
  const isOver = (command: Command): boolean => seen.has(command) && !pending.has(command);
  client.sendCommand = (command, ...rest) => {
    if (isOver(command)) return command.promise;
    if (seen.has(command)) return send(command, ...rest);
    seen.add(command);
    pending.add(command);
    const timer = setTimeout(() => command.reject(new Error("Command timed out")), DEADLINE_MS);
    const forget = (): void => {
      clearTimeout(timer);
      pending.delete(command);
    };
    command.promise.then(forget, forget);
    return send(command, ...rest);
  };
  // After MOVED or a lost connection, ioredis sends a command directly to a node.
  client.on("+node", (node: Redis) => {
    const sendToNode = node.sendCommand.bind(node);
    node.sendCommand = (command, ...rest) =>
      isOver(command) ? command.promise : sendToNode(command, ...rest);
  });
  // Otherwise a Cluster client that is dropped between two attempts to connect would never reject its commands.
  onDestroy(client, () => {
    // A rejected command is over, so ioredis does not send it again after the connection is closed.
    for (const command of pending) command.reject(new Error("Cluster is ended."));
  });
}

function createNodeClient(nodes: () => readonly Node[], source: Cluster, options: ConnectionOptions): Redis {
  let turn = Math.floor(Math.random() * 1_000);
  let last = "";
  // Skips the node that was just lost, even if the list has changed.
  const next = (): Node | undefined => {
    const list = nodes();
    let node = list[turn++ % list.length];
    if (`${node?.host}:${node?.port}` === last) node = list[turn++ % list.length];
    last = `${node?.host}:${node?.port}`;
    return node;
  };
  // These defaults replace the options of the previous node.
  const common = nodeOf(source.options.redisOptions ?? {});
  const client = new Redis({
    ...source.options.redisOptions,
    ...options,
    ...next(),
    retryStrategy: (times: number) => {
      // ioredis reads the options at each attempt to connect.
      Object.assign(client.options, common, next());
      return options.retryStrategy(times);
    },
  });
  return client;
}

/** Returns the nodes that our client knows, or else the nodes that the application's client knows, or else its startup nodes. */
function nodesOf(commands: Cluster | null, source: Cluster): readonly Node[] {
  const nodes = [commands, source].map((cluster) => cluster?.nodes() ?? []).find(({ length }) => length > 0);
  return nodes?.map(({ options }) => definedOf(nodeOf(options))) ?? startupNodesOf(source);
}

/** Reads startup nodes. ioredis accepts a port, a URL or an object. */
function startupNodesOf(cluster: Cluster): readonly Node[] {
  const { startupNodes } = cluster as unknown as {
    startupNodes: readonly (number | string | RedisOptions)[];
  };
  return startupNodes.map((node) => {
    if (typeof node === "object") return definedOf(nodeOf(node));
    const { options } = new Redis(node as string, { lazyConnect: true });
    return definedOf(nodeOf(options));
  });
}

function nodeOf({
  host,
  port,
  username,
  password,
  tls,
  family,
}: Partial<RedisOptions>): Record<keyof Node, unknown> {
  return { host, port, username, password, tls, family };
}

function definedOf(node: Record<keyof Node, unknown>): Node {
  return Object.fromEntries(
    Object.entries(node).filter(([, value]) => value !== undefined && value !== null),
  );
}

/**
 * Whether a plain connection leads to one node of a cluster with several nodes. This node refuses commands whose keys are on other
 * nodes. Returns false if the server does not answer the question. Never rejects.
 */
export async function isOneNodeOfMany(client: RedisClient): Promise<boolean> {
  if ("nodes" in client || isMock(client)) return false;
  try {
    return Number(/cluster_size:(\d+)/.exec(await client.cluster("INFO"))?.[1] ?? 0) > 1;
  } catch {
    return false;
  }
}
