import { RedisSseError, sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import { PUBLISH_KEYED } from "./lua/generated.js";

interface Waiting {
  readonly message: string;
  readonly resolve: (receivers: number) => void;
  readonly reject: (error: unknown) => void;
}

/** In one script, so that it does not hold the node for long. */
const MAX_BATCH = 100;
/** Events of one channel that wait for its script; more are refused. */
const MAX_WAITING = 10_000;
/** Of text in one script, unless one event alone is longer. */
const MAX_BATCH_CHARACTERS = 1_000_000;

/**
 * Publishes on a Redis Cluster in order. A Cluster client sends a plain PUBLISH to any node, and retries each command by itself:
 * events that are under way at the same time would overtake each other. Therefore a script with a key goes to the node of that
 * key, and each channel has one script under way. Events that come meanwhile go together in the next.
 */
export class KeyedPublisher {
  /** Of each channel with a script under way the events that come after it. */
  readonly #waiting = new Map<string, Waiting[]>();

  /** Resolves with the number of receivers on that node. Rejects with the error of ioredis; then later events of the channel fail too. */
  publish(client: RedisClient, key: string, channel: string, message: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const entry = { message, resolve, reject };
      const waiting = this.#waiting.get(channel);
      if (waiting !== undefined && waiting.length >= MAX_WAITING) {
        reject(
          new RedisSseError("REDIS_UNAVAILABLE", "Too many events of one channel wait for the Redis Cluster"),
        );
        return;
      }
      if (waiting !== undefined) return void waiting.push(entry);
      this.#waiting.set(channel, [entry]);
      void this.#drain(client, key, channel);
    });
  }

  async #drain(client: RedisClient, key: string, channel: string): Promise<void> {
    for (;;) {
      const waiting = this.#waiting.get(channel)!;
      const batch = takeBatch(waiting);
      if (batch.length === 0) break;
      try {
        // Not by its digest: a script that has to be loaded first would come later than the next one.
        const messages = batch.map(({ message }) => message);
        const receivers = (await client.eval(
          PUBLISH_KEYED,
          1,
          key,
          channel,
          ...messages,
        )) as readonly unknown[];
        batch.forEach(({ resolve }, index) => resolve(Number(receivers[index])));
      } catch (error) {
        // While the cluster is away, nobody waits for more than one script. Otherwise Redis has refused only these.
        const failed = sanitize(error).retryable ? [...batch, ...waiting.splice(0)] : batch;
        for (const { reject } of failed) reject(error);
      }
    }
    this.#waiting.delete(channel);
  }
}

function takeBatch(waiting: Waiting[]): readonly Waiting[] {
  let characters = 0;
  const end = waiting.findIndex(({ message }, index) => {
    characters += message.length;
    return index === MAX_BATCH || (index > 0 && characters > MAX_BATCH_CHARACTERS);
  });
  return waiting.splice(0, end === -1 ? waiting.length : end);
}
