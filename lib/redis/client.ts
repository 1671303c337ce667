import type { Cluster, Redis, RedisOptions } from "ioredis";

import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { readProperty } from "../thrown.js";

/** A connection to a Redis server or to a Redis Cluster. */
export type RedisClient = Redis | Cluster;

/** The purpose of a connection. Its name in `CLIENT LIST` starts with `redis-sse:<role>:`. */
export type ConnectionRole = "command" | "subscriber" | "lease";

export const CONNECTION_ROLES: readonly ConnectionRole[] = ["command", "subscriber", "lease"];

/** The options of every connection. With `replyMapping`, all versions of ioredis return replies in the same form. */
export type ConnectionOptions = Omit<RedisOptions, "replyMapping" | "retryStrategy"> & {
  readonly replyMapping: "legacy";
  /** Returns the milliseconds before the next attempt to connect. `null`: no further attempt. */
  readonly retryStrategy: (times: number) => number | null;
};

/** Whether this is a client of ioredis-mock. It has no `status`. */
export function isMock(client: RedisClient): boolean {
  return (client.status as string | undefined) === undefined;
}

/**
 * The time argument of a script. It is empty for a Redis server, because scripts use the server's clock. The clock of ioredis-mock
 * goes back once in each second. So scripts for the mock get the time in milliseconds, from the client's own `now()` if it has one.
 */
export function scriptTime(client: RedisClient): number | "" {
  if (!isMock(client)) return "";
  return (client as { now?: () => number }).now?.() ?? Date.now();
}

/** Whether the server refused the SELECT of a new connection: the database does not exist, or an ACL rule denies it. */
export function isRefusedSelect(error: unknown): boolean {
  const isAnswer = readProperty(error, "name") === "ReplyError";
  return isAnswer && readProperty(readProperty(error, "command"), "name") === "select";
}

/** Whether the connection can send commands now. */
export function isReady(client: RedisClient): boolean {
  return isMock(client) || client.status === "ready";
}

const beforeDestroy = new WeakMap<RedisClient, () => void>();

/** Makes `destroyClient()` call `listener` first. */
export function onDestroy(client: RedisClient, listener: () => void): void {
  beforeDestroy.set(client, listener);
}

/**
 * Drops a connection immediately. All its waiting commands are rejected.
 *
 * `disconnect()` alone is not enough. If the server does not respond, the socket would stay open for `disconnectTimeout`. Between
 * two attempts to connect, waiting commands would not be rejected. So this starts an attempt and aborts it.
 */
export function destroyClient(client: RedisClient): void {
  // The connection has ended. `disconnect()` would only start the timer of `disconnectTimeout`.
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
 * Ends a connection with QUIT, so that the server has released it when this resolves. If QUIT takes longer than `timeoutMs`, or the
 * connection is not ready, this drops the connection. Never rejects.
 */
export async function endClient(client: RedisClient, clock: Clock, timeoutMs: number): Promise<void> {
  try {
    if (isReady(client)) await withDeadline(client.quit(), { clock, timeoutMs, what: "QUIT" });
  } catch {
    // The connection is dropped in any case.
  } finally {
    destroyClient(client);
  }
}

/**
 * Sends a PING every `intervalMs`, on each connection of a Cluster client. Returns a function that stops it.
 *
 * The deadline of the socket starts only with a write, and a subscriber writes nothing else. Without PING, a dead connection would
 * never be noticed.
 */
export function startPinging(client: RedisClient, clock: Clock, intervalMs: number): () => void {
  let cancel: () => void;
  const schedule = (): void => {
    cancel = clock.schedule(() => {
      // If a PING gets no answer, the deadline of the socket ends the connection. A connection that is not ready gets no PING,
      // because the PING would only wait.
      const links = "nodes" in client ? client.nodes() : [client];
      for (const link of links) if (isReady(link)) link.ping().catch(() => {});
      schedule();
    }, intervalMs);
  };
  schedule();
  return () => cancel();
}
