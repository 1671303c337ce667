import type { Writable } from "node:stream";

import type { RedisClient } from "../redis/client.js";

const gathering = new WeakSet<Writable>();

/**
 * Has all that is sent over a client until the turn of the loop ends go out with one write: the system call costs more
 * than most commands, and what comes to Redis together comes to its subscribers together. To be called before each
 * command. The order stays; nothing waits for a timer. A cluster's and a mock's commands go out one by one.
 */
export function gatherTurn(client: RedisClient): RedisClient {
  const stream = "stream" in client ? (client.stream as Writable | undefined) : undefined;
  if (stream === undefined || gathering.has(stream)) return client;
  gathering.add(stream);
  stream.cork();
  // Also when the connection has been lost or replaced meanwhile: then this does nothing.
  setImmediate(() => {
    gathering.delete(stream);
    stream.uncork();
  });
  return client;
}
