import { sanitize, type ErrorCode } from "../errors.js";
import type { RedisClient } from "../redis/client.js";

/** The state of one Redis server, or why it is not known. A field is `null` if the server does not report it. */
export type NodeStatus =
  | {
      /** `host:port`, or the path of a Unix socket. */
      readonly address: string;
      readonly role: "master" | "replica" | null;
      readonly connectedClients: number | null;
      readonly maxClients: number | null;
      readonly usedMemoryBytes: number | null;
      /** 0: no limit. */
      readonly maxMemoryBytes: number | null;
      /** What Redis does when its memory is full: with `allkeys-...` it may delete logs and tasks that are waiting. */
      readonly maxMemoryPolicy: string | null;
      readonly fault?: never;
    }
  | { readonly address: string; readonly fault: ErrorCode };

/** The sums over all servers, or why no server answers. */
export type ServerInfo =
  | { readonly connectedClients: number | null; readonly maxClients: number | null; readonly fault?: never }
  | { readonly connectedClients?: never; readonly maxClients?: never; readonly fault: ErrorCode };

type NodeClient = Exclude<RedisClient, { nodes: unknown }>;

/** Asks the server, or each node of a cluster. Never rejects. */
export async function readNodes(
  commands: () => RedisClient,
): Promise<{ readonly redis: ServerInfo; readonly nodes: readonly NodeStatus[] }> {
  let nodes: readonly NodeStatus[];
  try {
    const client = commands();
    const [connected, failed] = await Promise.all([
      nodesOf(client).then((clients) => Promise.all(clients.map(readNode))),
      failedNodesOf(client),
    ]);
    const known = new Set(connected.map(({ address }) => address));
    nodes = [...connected, ...failed.filter(({ address }) => !known.has(address))];
  } catch (error) {
    return { redis: { fault: sanitize(error).code }, nodes: [] };
  }
  const answers = nodes.filter((node) => node.fault === undefined);
  if (answers.length === 0) return { redis: { fault: nodes[0]?.fault ?? "REDIS_UNAVAILABLE" }, nodes };
  const sum = (values: readonly (number | null)[]): number | null =>
    values.reduce((total, value) => (total === null || value === null ? null : total + value));
  return {
    redis: {
      connectedClients: sum(answers.map((node) => node.connectedClients)),
      maxClients: sum(answers.map((node) => node.maxClients)),
    },
    nodes,
  };
}

/** The connections of a Cluster client to its nodes. It knows them once it has sent a command. */
export async function nodesOf(client: RedisClient): Promise<readonly NodeClient[]> {
  if (!("nodes" in client)) return [client];
  if (client.nodes().length === 0 || client.status !== "ready") await client.ping();
  return client.nodes();
}

/** The nodes that a cluster counts as failed: ioredis has no connection to them any more. */
async function failedNodesOf(client: RedisClient): Promise<readonly NodeStatus[]> {
  if (!("nodes" in client)) return [];
  try {
    return parseFailedNodes(String(await client.cluster("NODES")));
  } catch {
    return []; // The ACL refuses it, or no node answers. Then the reads of the nodes report it.
  }
}

/** Reads `CLUSTER NODES`: a line for each node, `id host:port@busport[,hostname] flags ...`. */
export function parseFailedNodes(text: string): readonly NodeStatus[] {
  return text.split("\n").flatMap((line) => {
    const [, location = "", flags = ""] = line.split(" ");
    const address = location.split("@")[0]!;
    const isFailed = flags.split(",").includes("fail") && /.:[1-9]\d*$/.test(address);
    return isFailed ? [{ address, fault: "REDIS_UNAVAILABLE" as const }] : [];
  });
}

async function readNode(client: NodeClient): Promise<NodeStatus> {
  const { path, host = "localhost", port = 6379 } = client.options as Partial<NodeClient["options"]>;
  const address = path ?? `${host}:${port}`;
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
    // The server answers, but it refuses INFO to this user.
    return {
      address,
      role: null,
      connectedClients: null,
      maxClients: null,
      usedMemoryBytes: null,
      maxMemoryBytes: null,
      maxMemoryPolicy: null,
    };
  }
}
