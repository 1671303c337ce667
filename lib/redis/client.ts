import type { Cluster, Redis, RedisOptions } from "ioredis";

import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { readProperty } from "../thrown.js";

/** A connection to a server, or to a cluster: what of ioredis the library uses on both. */
export type RedisClient = Redis | Cluster;

/** What a connection is for; its name in `CLIENT LIST` begins with `redis-sse:<role>:`. */
export type ConnectionRole = "command" | "subscriber" | "lease";

export const CONNECTION_ROLES: readonly ConnectionRole[] = ["command", "subscriber", "lease"];

/** The options that are set for every connection; replies in the shapes that all versions of ioredis have. */
export type ConnectionOptions = Omit<RedisOptions, "replyMapping" | "retryStrategy"> & {
  readonly replyMapping: "legacy";
  /** Milliseconds before the next attempt to connect; `null` for none. */
  readonly retryStrategy: (times: number) => number | null;
};

/** Whether this is an ioredis-mock, which has no `status`. */
export function isMock(client: RedisClient): boolean {
  return (client.status as string | undefined) === undefined;
}

/**
 * The time that a script gets. It is empty for a server, whose own clock decides. The clock of ioredis-mock goes back once in each
 * second, so its scripts get the time of this process, or that of a client with a `now()` of its own, in milliseconds.
 */
export function scriptTime(client: RedisClient): number | "" {
  if (!isMock(client)) return "";
  return (client as { now?: () => number }).now?.() ?? Date.now();
}

/** Whether this is the server's answer to the SELECT of a new connection: there is no such database, or an ACL forbids it. */
export function isRefusedSelect(error: unknown): boolean {
  const isAnswer = readProperty(error, "name") === "ReplyError";
  return isAnswer && readProperty(readProperty(error, "command"), "name") === "select";
}

/** Whether commands would go out now. */
export function isReady(client: RedisClient): boolean {
  return isMock(client) || client.status === "ready";
}

const beforeDestroy = new WeakMap<RedisClient, () => void>();

/** Has `destroyClient()` call this first. */
export function onDestroy(client: RedisClient, listener: () => void): void {
  beforeDestroy.set(client, listener);
}

/**
 * Drops a connection with all that waits on it. `disconnect()` alone lets a link whose other end is frozen
 * live for another `disconnectTimeout`, and between two attempts to connect it only cancels the next: who waits
 * would not be told. An attempt that is broken off as soon as it begins tells them.
 */
export function destroyClient(client: RedisClient): void {
  // Of one that has ended nothing is left to drop: ioredis would only set the timer of `disconnectTimeout`.
  if (client.status === "end") return;
  beforeDestroy.get(client)?.();
  try {
    if (client.status === "reconnecting") client.connect().catch(() => {});
    client.disconnect();
  } finally {
    if ("stream" in client) client.stream?.destroy();
  }
}

/**
 * Ends a connection with QUIT, so that the server has let go of it when this resolves; drops it where that
 * takes longer than `timeoutMs`, or where there is nothing to say goodbye to. Never rejects.
 */
export async function endClient(client: RedisClient, clock: Clock, timeoutMs: number): Promise<void> {
  try {
    if (isReady(client)) await withDeadline(client.quit(), { clock, timeoutMs, what: "QUIT" });
  } catch {
    // Dropping the connection is what follows either way.
  } finally {
    destroyClient(client);
  }
}

/**
 * Sends a PING every `intervalMs` until the answer is called, over each connection of a Cluster client. A subscriber only reads, so nothing else makes
 * it write, and arms the socket's deadline: without this a link that is dead but looks open stays for ever.
 */
export function startPinging(client: RedisClient, clock: Clock, intervalMs: number): () => void {
  let cancel: () => void;
  const schedule = (): void => {
    cancel = clock.schedule(() => {
      // The answer does not matter here: without one the socket's deadline ends the link.
      // While the connection is away, a PING would only wait with the other commands.
      const links = "nodes" in client ? client.nodes() : [client];
      for (const link of links) if (isReady(link)) link.ping().catch(() => {});
      schedule();
    }, intervalMs);
  };
  schedule();
  return () => cancel();
}
