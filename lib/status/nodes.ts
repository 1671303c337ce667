import type { Cluster } from "ioredis";

import { sanitize } from "../errors.js";
import type { ErrorCode } from "../catalogue/error-catalogue.js";
import type { RedisClient } from "../redis/client.js";

/** State of one Redis server, or the reason why it is unknown. A field is `null` if the server does not report it. */
export type NodeStatus =
  | {
      /** `host:port`, or the path of a Unix socket. */
      readonly address: string;
      /** Whether the server is a master or a replica. */
      readonly role: "master" | "replica" | null;
      /** Number of connected clients. */
      readonly connectedClients: number | null;
      /** The option `maxclients` of the server. */
      readonly maxClients: number | null;
      /** Used memory, in bytes. */
      readonly usedMemoryBytes: number | null;
      /** The option `maxmemory` of the server, in bytes. 0: no limit. */
      readonly maxMemoryBytes: number | null;
      /**
       * The option `maxmemory-policy` of the server. It decides what happens if the memory is full.
       *
       * With `allkeys-...`, Redis can delete the history of channels and tasks that have not run yet.
       */
      readonly maxMemoryPolicy: string | null;
      /** Absent, because the server answered. */
      readonly fault?: never;
    }
  | {
      /** `host:port`, or the path of a Unix socket. */
      readonly address: string;
      /** Code of the error, if the state is unknown. */
      readonly fault: ErrorCode;
    };

/** Sums over all servers that answered, or the reason why no server answered. */
export type ServerInfo =
  | {
      /** Number of connected clients. `null` if no server reports it. */
      readonly connectedClients: number | null;
      /** Sum of the option `maxclients`. `null` if no server reports it. */
      readonly maxClients: number | null;
      /** Absent, because a server answered. */
      readonly fault?: never;
    }
  | {
      /** Absent, because no server answered. */
      readonly connectedClients?: never;
      /** Absent, because no server answered. */
      readonly maxClients?: never;
      /** Code of the error, if no server answered. */
      readonly fault: ErrorCode;
    };

type NodeClient = Exclude<RedisClient, { nodes: unknown }>;

/** Reads the state of the server, or of each node of a cluster. Never rejects. */
export async function readNodes(
  commands: () => RedisClient,
): Promise<{ readonly redis: ServerInfo; readonly nodes: readonly NodeStatus[] }> {
  let nodes: readonly NodeStatus[];
  try {
    const client = commands();
    const [listed, connected] = await Promise.all([
      listNodes(client),
      nodesOf(client).then((clients) => Promise.all(clients.map(readNode))),
    ]);
    const known = new Set(connected.map(({ address }) => address));
    const others = listed.filter(({ address }) => !known.has(address));
    nodes = [...connected, ...(await readOthers(client, others))];
  } catch (error) {
    return { redis: { fault: sanitize(error).code }, nodes: [] };
  }
  const answers = nodes.filter((node) => node.fault === undefined);
  if (answers.length === 0) return { redis: { fault: nodes[0]?.fault ?? "REDIS_UNAVAILABLE" }, nodes };
  const sum = (values: readonly (number | null)[]): number | null =>
    values.reduce((total, value) => (total === null || value === null ? (total ?? value) : total + value));
  return {
    redis: {
      connectedClients: sum(answers.map((node) => node.connectedClients)),
      maxClients: sum(answers.map((node) => node.maxClients)),
    },
    nodes,
  };
}

/**
 * Returns the connections of a Cluster client to its nodes. The client knows the nodes only after its first command.
 */
export async function nodesOf(client: RedisClient): Promise<readonly NodeClient[]> {
  if (!("nodes" in client)) return [client];
  if (client.nodes().length === 0 || client.status !== "ready") await client.ping();
  return client.nodes();
}

/**
 * Reads the state of nodes to which the client has no connection. For this, it refreshes the client's list of nodes.
 */
async function readOthers(
  client: RedisClient,
  others: readonly NodeStatus[],
): Promise<readonly NodeStatus[]> {
  if (!("nodes" in client) || others.every(({ fault }) => fault !== undefined)) return others;
  await new Promise<void>((resolve) => client.refreshSlotsCache(() => resolve()));
  const clients = new Map(client.nodes().map((node) => [addressOf(node), node]));
  return Promise.all(
    others.map(async (other) => {
      const found = clients.get(other.address);
      return found === undefined || other.fault !== undefined ? other : readNode(found);
    }),
  );
}

/**
 * Reads the list of nodes from one node of a cluster. Returns an empty list if an ACL rule denies this or no node
 * answers.
 */
async function listNodes(client: RedisClient): Promise<readonly NodeStatus[]> {
  if (!("nodes" in client)) return [];
  try {
    return parseNodes(String(await client.cluster("NODES")), client.options.natMap);
  } catch {
    return [];
  }
}

type NatMap = Cluster["options"]["natMap"];

/** Parses the reply of `CLUSTER NODES`. It has one line for each node: `id host:port@busport[,hostname] flags ...`. */
export function parseNodes(text: string, natMap?: NatMap): readonly NodeStatus[] {
  return text.split("\n").flatMap((line): readonly NodeStatus[] => {
    const [, location = "", flagList = ""] = line.split(" ");
    const address = mapAddress(location.split("@")[0]!, natMap);
    const flags = flagList.split(",");
    if (!/.:[1-9]\d*$/.test(address)) return [];
    if (flags.includes("fail")) return [{ address, fault: "REDIS_UNAVAILABLE" }];
    return [{ ...UNKNOWN, address, role: flags.includes("slave") ? "replica" : "master" }];
  });
}

function mapAddress(address: string, natMap: NatMap): string {
  const mapped = typeof natMap === "function" ? natMap(address) : natMap?.[address];
  return mapped ? `${mapped.host}:${mapped.port}` : address;
}

const UNKNOWN = {
  role: null,
  connectedClients: null,
  maxClients: null,
  usedMemoryBytes: null,
  maxMemoryBytes: null,
  maxMemoryPolicy: null,
};

function addressOf({ options, stream }: NodeClient): string {
  const { path, host = "localhost", port = 6379, sentinels } = options as Partial<NodeClient["options"]>;
  // With Sentinel, the options do not contain the address of the server.
  if (sentinels && stream && "remoteAddress" in stream) return `${stream.remoteAddress}:${stream.remotePort}`;
  return path ?? `${host}:${port}`;
}

async function readNode(client: NodeClient): Promise<NodeStatus> {
  const address = addressOf(client);
  try {
    const sections = ["clients", "memory", "replication"].map((section) => client.info(section));
    const info = (await Promise.all(sections)).join("\n");
    const read = (field: string): string | null =>
      new RegExp(`^${field}:(\\S+)`, "m").exec(info)?.[1] ?? null;
    const count = (field: string): number | null => {
      const value = read(field);
      return value !== null && /^\d+$/.test(value) ? Number(value) : null;
    };
    const role = read("role");
    return {
      address,
      role: role === "slave" ? "replica" : role === "master" ? role : null,
      connectedClients: count("connected_clients"),
      maxClients: count("maxclients"),
      usedMemoryBytes: count("used_memory"),
      maxMemoryBytes: count("maxmemory"),
      maxMemoryPolicy: read("maxmemory_policy"),
    };
  } catch (error) {
    const { code } = sanitize(error);
    if (code !== "REDIS_REFUSED") return { address, fault: code };
    // An ACL rule denies INFO, but the server is available.
    return { ...UNKNOWN, address };
  }
}
