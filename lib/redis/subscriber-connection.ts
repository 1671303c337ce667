import type { Clock } from "../clock.js";
import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { isReady, startPinging, type RedisClient } from "./client.js";

export interface SubscriberHandlers {
  onMessage(channel: string, message: string): void;
  /** The connection is ready. All earlier subscriptions are lost. */
  onReady(): void;
  /** The connection and all its subscriptions are lost. It reconnects by itself. */
  onDown(): void;
}

const log = createLog("hub");

/**
 * The connection that all subscriptions of a process share. It reduces the events of ioredis to three, and uses PING to notice a dead
 * connection.
 */
export class SubscriberConnection {
  readonly #client: RedisClient;
  readonly #listeners: readonly (readonly [string, (...values: string[]) => void])[];
  #stopPinging: () => void = () => {};
  #ready = false;

  constructor(client: RedisClient, clock: Clock, pingMs: number, handlers: SubscriberHandlers) {
    this.#client = client;
    const onReady = (): void => {
      this.#ready = true;
      this.#stopPinging();
      this.#stopPinging = startPinging(client, clock, pingMs);
      handlers.onReady();
    };
    const onDown = (): void => {
      if (!this.#ready) return;
      this.#ready = false;
      this.#stopPinging();
      handlers.onDown();
    };
    this.#listeners = [
      ["message", (channel = "", message = "") => handlers.onMessage(channel, message)],
      ["ready", onReady],
      ["close", onDown],
      ["end", onDown],
    ];
    for (const [event, listener] of this.#listeners) client.on(event, listener);
    // The result arrives as events. If the first attempt fails, ioredis tries again.
    client.connect().catch((error: unknown) => log("connect: %s", sanitize(error).message));
  }

  isReady(): boolean {
    return this.#ready && isReady(this.#client);
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    await this.#client.subscribe(...channels);
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    await this.#client.unsubscribe(...channels);
  }

  /** Removes the listeners. The pool ends the connection. */
  detach(): void {
    this.#ready = false;
    this.#stopPinging();
    for (const [event, listener] of this.#listeners) this.#client.off(event, listener);
  }
}
