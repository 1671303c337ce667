import type { Writable } from "node:stream";

import type { RedisClient } from "./client.js";

const gathering = new WeakSet<Writable>();

/**
 * Has all that is sent over a client in one callback of the loop, with its promises, go out with one write: the system call
 * costs more than most commands, and what comes to Redis together comes to its subscribers together. To be called before
 * each command. The order stays, and nothing waits for another callback. A cluster's and a mock's commands
 * go out one by one.
 */
export function gatherWrites(client: RedisClient): RedisClient {
  const stream = "stream" in client ? (client.stream as Writable | undefined) : undefined;
  if (stream === undefined || gathering.has(stream)) return client;
  gathering.add(stream);
  stream.cork();
  // Also when the connection has been lost or replaced meanwhile: then this does nothing.
  process.nextTick(() => {
    gathering.delete(stream);
    stream.uncork();
  });
  return client;
}
