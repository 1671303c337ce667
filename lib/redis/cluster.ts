import { Redis, type Cluster, type RedisOptions } from "ioredis";

import { isMock, type ConnectionOptions, type ConnectionRole, type RedisClient } from "./client.js";

/** For how long a command is tried: as long as one connection waits for an answer. */
const DEADLINE_MS = 5_000;
const RETRY_MS = 100;

/** Makes the connections of a service whose application uses a Redis Cluster. */
export type ClusterConnector = (role: ConnectionRole, options: ConnectionOptions) => RedisClient;

interface Node {
  readonly host: string;
  readonly port: number;
}

/**
 * Commands go through a Cluster client. Subscriptions have a plain connection to one node instead: every node gets every
 * published event, and ioredis' own subscriber of a Cluster changes its node without an event, so that losses would not be
 * noticed. After a loss the next node is tried.
 */
export function connectToCluster(source: Cluster): ClusterConnector {
  let commands: Cluster | null = null;
  return (role, options) => {
    if (role === "command") return (commands = createCommandClient(source, options));
    return createNodeClient(() => nodesOf(commands ?? source), source, options);
  };
}

/** Every option of a Cluster that matters is set: `duplicate()` would carry over the app's. */
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
    // A slot that migrates, or whose master is lost, comes back within seconds.
    maxRedirections: DEADLINE_MS / RETRY_MS,
    retryDelayOnMoved: 0,
    retryDelayOnFailover: RETRY_MS,
    retryDelayOnClusterDown: RETRY_MS,
    retryDelayOnTryAgain: RETRY_MS,
  });
  withoutSubscriber(client);
  withDeadline(client);
  return client;
}

/** Every Cluster client of ioredis connects a subscriber that nobody here uses, under a name that is not ours. */
function withoutSubscriber(client: Cluster): void {
  const { subscriber } = client as unknown as { subscriber?: { start?: () => void } };
  if (typeof subscriber?.start === "function") subscriber.start = () => {};
}

/** `commandTimeout` bounds only what has reached a node. Without a node, or from node to node, a command could wait for ever. */
function withDeadline(client: Cluster): void {
  const send = client.sendCommand.bind(client);
  client.sendCommand = (command, ...rest) => {
    command.setTimeout(DEADLINE_MS);
    return send(command, ...rest);
  };
}

function createNodeClient(nodes: () => readonly Node[], source: Cluster, options: ConnectionOptions): Redis {
  let turn = Math.floor(Math.random() * 1_000);
  const next = (): Node | undefined => {
    const list = nodes();
    return list[turn++ % list.length];
  };
  const client = new Redis({
    ...source.options.redisOptions,
    ...options,
    ...next(),
    retryStrategy: (times: number) => {
      // ioredis reads them at each attempt to connect.
      Object.assign(client.options, next());
      return options.retryStrategy(times);
    },
  });
  return client;
}

/** The nodes that a client knows; before it has asked one, those that the application gave. */
function nodesOf(cluster: Cluster): readonly Node[] {
  const known = cluster.nodes().map(({ options: { host = "127.0.0.1", port = 6379 } }) => ({ host, port }));
  return known.length > 0 ? known : startupNodesOf(cluster);
}

/** In all forms that ioredis takes: a port, a URL, or an object. */
function startupNodesOf(cluster: Cluster): readonly Node[] {
  const { startupNodes } = cluster as unknown as { startupNodes: readonly unknown[] };
  return startupNodes.map((node) => {
    const { host, port } = new Redis(node as RedisOptions & string, { lazyConnect: true }).options;
    return { host: host ?? "127.0.0.1", port: port ?? 6379 };
  });
}

/**
 * Whether a plain connection leads to one node of a cluster of several. Its answer to most commands would be that another node
 * has the key. Never rejects: where the server does not tell, the answer is false.
 */
export async function isOneNodeOfMany(client: RedisClient): Promise<boolean> {
  if ("nodes" in client || isMock(client)) return false;
  try {
    return Number(/cluster_size:(\d+)/.exec(await client.cluster("INFO"))?.[1] ?? 0) > 1;
  } catch {
    return false;
  }
}
