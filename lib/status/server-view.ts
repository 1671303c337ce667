import { sanitize } from "../errors.js";
import { isMock, type RedisClient } from "../redis/client.js";
import { nodesOf } from "./nodes.js";

/** What the server says that it holds; `null` what it does not tell to this user. */
export interface ServerView {
  readonly connections: readonly ServerConnection[] | null;
  /** Of the channels that were asked for, those without any subscriber. */
  readonly silent: readonly string[] | null;
}

export interface ServerConnection {
  readonly id: string;
  /** As it was named by whoever made it. */
  readonly name: string;
  /** How many channels it is subscribed to; `null` where the server's list does not have it. */
  readonly channels: number | null;
}

/** A server is asked with commands of this size, so that none of them keeps it for long. */
const MAX_BATCH = 512;

/**
 * Asks the server for its connections, and which of `channels` nobody is subscribed to. Of a cluster all nodes are asked: a
 * channel is silent if nobody is subscribed to it on any. `null` for a mock. Rejects when a server gives no answer.
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
    // Each server counts its connections by itself.
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
  // Sent together, so that both are of one moment.
  const [connections, silent] = await Promise.all([
    withConnections
      ? unlessRefused(client.client("LIST").then((text) => parseClientList(String(text))))
      : null,
    unlessRefused(Promise.all(counts).then((replies) => readSilent(replies.flat()))),
  ]);
  return { connections, silent };
}

/** An ACL, or a proxy between, may keep a command from this user. */
async function unlessRefused<T>(reply: Promise<T>): Promise<T | null> {
  try {
    return await reply;
  } catch (error) {
    if (sanitize(error).code === "REDIS_REFUSED") return null;
    throw error;
  }
}

/** Reads `CLIENT LIST`: a line for each client, of fields `key=value`. Other servers than Redis have fewer fields. */
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

/** Reads `PUBSUB NUMSUB`: names and counts in turn. */
function readSilent(counts: readonly unknown[]): readonly string[] {
  return counts.filter((_, index) => index % 2 === 0 && Number(counts[index + 1]) === 0).map(String);
}
