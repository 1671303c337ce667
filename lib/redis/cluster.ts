import { Redis, type Cluster, type RedisOptions } from "ioredis";

import {
  isMock,
  onDestroy,
  type ConnectionOptions,
  type ConnectionRole,
  type RedisClient,
} from "./client.js";

/** For how long a command is tried: as long as one connection waits for an answer. */
const DEADLINE_MS = 5_000;
const RETRY_MS = 100;
const SLOTS_REFRESH_MS = 15_000;

type Command = Parameters<Redis["sendCommand"]>[0];

/** Makes the connections of a service whose application uses a Redis Cluster. */
export type ClusterConnector = (role: ConnectionRole, options: ConnectionOptions) => RedisClient;

/** The address of a node, and the options that apply only to it. */
type Node = Pick<RedisOptions, "host" | "port" | "username" | "password" | "tls" | "family">;

/**
 * Commands go through a Cluster client. Subscriptions have a plain connection to one node instead: every node gets every
 * published event, and ioredis' own subscriber of a Cluster changes its node without an event, so losses would not be
 * noticed. If the connection is lost, the service tries another node.
 */
export function connectToCluster(source: Cluster): ClusterConnector {
  let commands: Cluster | null = null;
  return (role, options) => {
    if (role === "command") return (commands = createCommandClient(source, options));
    return createNodeClient(() => nodesOf(commands, source), source, options);
  };
}

/** Sets every option of a Cluster that matters, because `duplicate()` would copy the options of the app. */
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
    // Otherwise only a command that is sent to a node would show that the node was added or lost.
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    // A slot that migrates, or whose master is lost, comes back within seconds.
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

/** Every Cluster client of ioredis connects a subscriber that the service does not use, and whose name is not ours. */
function withoutSubscriber(client: Cluster): void {
  const { subscriber } = client as unknown as { subscriber?: { start?: () => void } };
  if (typeof subscriber?.start === "function") subscriber.start = () => {};
}

/**
 * `commandTimeout` limits only a command that has reached a node. Without a node, or between two nodes, a command could wait for
 * ever. A command that was rejected is not sent any more, when the cluster is back or to another node: its caller may have
 * tried again.
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
  // ioredis retries at a node itself, after MOVED or a lost connection.
  client.on("+node", (node: Redis) => {
    const sendToNode = node.sendCommand.bind(node);
    node.sendCommand = (command, ...rest) =>
      isOver(command) ? command.promise : sendToNode(command, ...rest);
  });
  // Otherwise a Cluster client that is disconnected between two attempts to connect would keep its commands.
  onDestroy(client, () => {
    // Otherwise ioredis would send the commands of a closed connection again.
    for (const command of pending) command.reject(new Error("Cluster is ended."));
  });
}

function createNodeClient(nodes: () => readonly Node[], source: Cluster, options: ConnectionOptions): Redis {
  let turn = Math.floor(Math.random() * 1_000);
  let last = "";
  // The node that was just lost is not the next one, even if the list has changed.
  const next = (): Node | undefined => {
    const list = nodes();
    let node = list[turn++ % list.length];
    if (`${node?.host}:${node?.port}` === last) node = list[turn++ % list.length];
    last = `${node?.host}:${node?.port}`;
    return node;
  };
  // The options of one node must not be used for the next.
  const common = nodeOf(source.options.redisOptions ?? {});
  const client = new Redis({
    ...source.options.redisOptions,
    ...options,
    ...next(),
    retryStrategy: (times: number) => {
      // ioredis reads them at each attempt to connect.
      Object.assign(client.options, common, next());
      return options.retryStrategy(times);
    },
  });
  return client;
}

/** The nodes that our client knows, or else the nodes that the app's client knows, or else the nodes that the app named. */
function nodesOf(commands: Cluster | null, source: Cluster): readonly Node[] {
  const nodes = [commands, source].map((cluster) => cluster?.nodes() ?? []).find(({ length }) => length > 0);
  return nodes?.map(({ options }) => definedOf(nodeOf(options))) ?? startupNodesOf(source);
}

/** In all forms that ioredis takes: a port, a URL, or an object. */
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
 * Whether a plain connection leads to one node of a cluster of several nodes. Such a node refuses most commands, because another
 * node has the key. Never rejects. Returns false if the server does not say it.
 */
export async function isOneNodeOfMany(client: RedisClient): Promise<boolean> {
  if ("nodes" in client || isMock(client)) return false;
  try {
    return Number(/cluster_size:(\d+)/.exec(await client.cluster("INFO"))?.[1] ?? 0) > 1;
  } catch {
    return false;
  }
}
