import type { Writable } from "node:stream";

import type { RedisClient } from "./client.js";

const gathering = new WeakSet<Writable>();

/**
 * Combines all commands of one event-loop callback, and of its promises, into one write to the socket. Call it before each command.
 *
 * A system call costs more than most commands. Events that reach Redis together also reach the subscribers together. The order of
 * the commands stays the same. For a cluster and for a mock, it does nothing.
 */
export function gatherWrites(client: RedisClient): RedisClient {
  const stream = "stream" in client ? (client.stream as Writable | undefined) : undefined;
  if (stream === undefined || gathering.has(stream)) return client;
  gathering.add(stream);
  stream.cork();
  // If the connection was lost or replaced, this has no effect.
  process.nextTick(() => {
    gathering.delete(stream);
    stream.uncork();
  });
  return client;
}
