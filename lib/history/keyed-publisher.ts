import { RedisSseError, sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import { PUBLISH_KEYED } from "./lua/generated.js";

interface Waiting {
  readonly message: string;
  readonly resolve: (receivers: number) => void;
  readonly reject: (error: unknown) => void;
}

/** Maximum number of events in one script, so that it does not block the node for long. */
const MAX_BATCH = 100;
/** Maximum number of waiting events of one channel. Further events are refused. */
const MAX_WAITING = 10_000;
/** Maximum length of the text in one script. A single event can be longer. */
const MAX_BATCH_CHARACTERS = 1_000_000;

/**
 * Publishes on a Redis Cluster in order.
 *
 * A Cluster client sends a plain PUBLISH to any node, and retries each command by itself. So concurrent events could arrive in another
 * order. Therefore events are published by a script, whose key selects the node. Each channel runs one script at a time. Events that
 * arrive during it go together into the next script.
 */
export class KeyedPublisher {
  /** The waiting events of each channel with a running script. */
  readonly #waiting = new Map<string, Waiting[]>();

  /**
   * Resolves with the number of receivers on the node. Rejects with the error of ioredis. After a retryable error, the waiting events
   * of the channel fail too.
   */
  publish(client: RedisClient, key: string, channel: string, message: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const entry = { message, resolve, reject };
      const waiting = this.#waiting.get(channel);
      if (waiting !== undefined && waiting.length >= MAX_WAITING) {
        reject(
          new RedisSseError(
            "REDIS_UNAVAILABLE",
            "Too many events of this channel wait for the Redis Cluster.",
          ),
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
        // EVAL, not EVALSHA: if the node did not know the script, this script would run after the next one.
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
        // If the cluster is unavailable, all waiting events fail, so that no caller waits for several scripts. Otherwise Redis refused
        // only the events of this script.
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
