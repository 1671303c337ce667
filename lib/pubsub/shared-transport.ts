import { RedisSseError } from "../errors.js";
import type { SubscriptionHub } from "./subscription-hub.js";
import type { Transport, TransportListener } from "./transport.js";

/** A session over the hub: what it holds is its place in the channels. */
export class SharedTransport implements Transport {
  readonly #hub: SubscriptionHub;
  readonly #listener: TransportListener;
  readonly #joined = new Set<string>();
  #reset = false;

  constructor(hub: SubscriptionHub, listener: TransportListener) {
    this.#hub = hub;
    this.#listener = listener;
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    await Promise.all(channels.map((channel) => this.#join(channel)));
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    const left = channels.filter((channel) => this.#leave(channel));
    if (left.length === 0) throw new RedisSseError("INTERNAL", "nothing was subscribed");
  }

  async close(): Promise<void> {
    // The connection belongs to all sessions.
  }

  reset(): void {
    this.#reset = true;
    for (const channel of this.#joined) this.#leave(channel);
  }

  async #join(channel: string): Promise<void> {
    if (this.#reset) throw new RedisSseError("ABORTED", "the session is closing");
    this.#joined.add(channel);
    try {
      await this.#hub.join(channel, this.#listener);
    } catch (fault) {
      this.#joined.delete(channel);
      throw fault;
    }
  }

  #leave(channel: string): boolean {
    this.#joined.delete(channel);
    return this.#hub.leave(channel, this.#listener);
  }
}
