import { RedisSseError } from "../errors.js";
import type { SubscriptionHub } from "./subscription-hub.js";
import type { Transport, TransportListener } from "./transport.js";
import type { ChannelLog } from "../replay/log-head.js";

/** A session over the hub: what it holds is its place in the channels. */
export class SharedTransport implements Transport {
  readonly #hub: SubscriptionHub;
  readonly #listener: TransportListener;
  #reset = false;

  constructor(hub: SubscriptionHub, listener: TransportListener) {
    this.#hub = hub;
    this.#listener = listener;
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    if (this.#reset) throw new RedisSseError("ABORTED", "the session is closing");
    await Promise.all(channels.map((channel) => this.#hub.join(channel, this.#listener)));
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    const left = channels.filter((channel) => this.#hub.leave(channel, this.#listener));
    if (left.length === 0) throw new RedisSseError("INTERNAL", "nothing was subscribed");
  }

  async close(): Promise<void> {
    // The connection belongs to all sessions.
  }

  flush(): void {
    this.#hub.flush();
  }

  log(channel: string): ChannelLog {
    return this.#hub.log(channel);
  }

  reset(): void {
    this.#reset = true;
    this.#hub.leaveAll(this.#listener);
  }
}
