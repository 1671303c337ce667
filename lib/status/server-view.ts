import { sanitize } from "../errors.js";
import { isMock, type RedisClient } from "../redis/client.js";
import { nodesOf } from "./nodes.js";

/** Connections and subscriptions that the server counts. A field is `null` if the server refuses to report it. */
export interface ServerView {
  readonly connections: readonly ServerConnection[] | null;
  /** The requested channels that have no subscriber. */
  readonly silent: readonly string[] | null;
}

export interface ServerConnection {
  readonly id: string;
  /** The name that its client set. */
  readonly name: string;
  /** Number of channels to which it is subscribed. `null` if the server does not list it. */
  readonly channels: number | null;
}

/** Maximum number of channels in one command, so that no command blocks the server for long. */
const MAX_BATCH = 512;

/**
 * Reads the connections of the server, and finds the channels that have no subscriber.
 *
 * In a cluster it asks all nodes. A channel is silent if it has no subscriber on any node. Resolves to `null` for
 * ioredis-mock. Rejects if a server does not answer.
 */
export async function askServer(
  client: RedisClient,
  channels: readonly string[],
  withConnections: boolean,
): Promise<ServerView | null> {
  if (isMock(client)) return null;
  const nodes = await nodesOf(client);
  const views = await Promise.all(nodes.map((node) => askNode(node, channels, withConnections)));
  if (views.length === 1) return views[0]!;
  const isKnown = (part: "connections" | "silent"): boolean => views.every((view) => view[part] !== null);
  return {
    // Two servers can use the same connection id.
    connections: isKnown("connections")
      ? views.flatMap(({ connections }, index) =>
          connections!.map((connection) => ({ ...connection, id: `${index}:${connection.id}` })),
        )
      : null,
    silent: isKnown("silent") ? inAll(views.map(({ silent }) => silent!)) : null,
  };
}

function inAll(lists: readonly (readonly string[])[]): readonly string[] {
  const [first = [], ...others] = lists;
  const sets = others.map((list) => new Set(list));
  return first.filter((channel) => sets.every((set) => set.has(channel)));
}

async function askNode(
  client: RedisClient,
  channels: readonly string[],
  withConnections: boolean,
): Promise<ServerView> {
  const counts: Promise<unknown[]>[] = [];
  for (let start = 0; start < channels.length; start += MAX_BATCH) {
    counts.push(client.pubsub("NUMSUB", ...channels.slice(start, start + MAX_BATCH)));
  }
  // Both calls are sent together, so that they show the same moment.
  const [connections, silent] = await Promise.all([
    withConnections
      ? unlessRefused(client.client("LIST").then((text) => parseClientList(String(text))))
      : null,
    unlessRefused(Promise.all(counts).then((replies) => readSilent(replies.flat()))),
  ]);
  return { connections, silent };
}

/** Returns `null` if Redis refuses the command. An ACL rule or a proxy can deny it. */
async function unlessRefused<T>(reply: Promise<T>): Promise<T | null> {
  try {
    return await reply;
  } catch (error) {
    if (sanitize(error).code === "REDIS_REFUSED") return null;
    throw error;
  }
}

/**
 * Parses the reply of `CLIENT LIST`. It has one line of `key=value` fields for each client. Some servers report fewer
 * fields.
 */
export function parseClientList(text: string): readonly ServerConnection[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const fields = new Map(line.split(" ").map((field) => splitOnce(field)));
      const sub = fields.get("sub");
      return {
        id: fields.get("id") ?? "",
        name: fields.get("name") ?? "",
        channels: sub === undefined ? null : Number(sub),
      };
    });
}

function splitOnce(field: string): [key: string, value: string] {
  const cut = field.indexOf("=");
  return [field.slice(0, cut), field.slice(cut + 1)];
}

/** Finds the channels without subscribers in the reply of `PUBSUB NUMSUB`, which is a list of names and counts. */
function readSilent(counts: readonly unknown[]): readonly string[] {
  return counts.filter((_, index) => index % 2 === 0 && Number(counts[index + 1]) === 0).map(String);
}
