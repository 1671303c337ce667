import { isMock, type RedisClient } from "../redis/client.js";

/** What the server says that it holds. */
export interface ServerView {
  readonly connections: readonly ServerConnection[];
  /** Of the channels that were asked for, those without any subscriber. */
  readonly silent: readonly string[];
}

export interface ServerConnection {
  /** As it was named by whoever made it. */
  readonly name: string;
  /** How many channels it is subscribed to. */
  readonly channels: number;
}

/** `CLIENT LIST` writes a line of some 400 bytes for each client, and blocks the server meanwhile. */
const MAX_CLIENTS = 10_000;

const MAX_BATCH = 512;

/**
 * Asks the server for its connections, and which of `channels` nobody is subscribed to. `null` for a mock, a
 * cluster (each node has a view of its own) and a server with more than 10,000 clients.
 */
export async function askServer(
  client: RedisClient,
  channels: readonly string[],
): Promise<ServerView | null> {
  if (isMock(client) || "nodes" in client) return null;
  const clients = /^connected_clients:(\d+)/m.exec(await client.info("clients"))?.[1];
  if (clients === undefined || Number(clients) > MAX_CLIENTS) return null;
  // Sent together, so that both are of one moment.
  const list = client.client("LIST");
  const counts: Promise<unknown[]>[] = [];
  for (let start = 0; start < channels.length; start += MAX_BATCH) {
    counts.push(client.pubsub("NUMSUB", ...channels.slice(start, start + MAX_BATCH)));
  }
  const [text, ...batches] = await Promise.all([list, ...counts]);
  return { connections: parseClientList(String(text)), silent: readSilent(batches.flat()) };
}

/** Reads `CLIENT LIST`: a line for each client, of fields `key=value`. */
export function parseClientList(text: string): readonly ServerConnection[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => ({
      name: / name=(\S*)/.exec(line)?.[1] ?? "",
      channels: Number(/ sub=(\d+)/.exec(line)?.[1] ?? 0),
    }));
}

/** Reads `PUBSUB NUMSUB`: names and counts in turn. */
function readSilent(counts: readonly unknown[]): readonly string[] {
  return counts.filter((_, index) => index % 2 === 0 && Number(counts[index + 1]) === 0).map(String);
}
