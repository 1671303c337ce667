import type { Awaitable } from "../awaitable.js";
import type { RedisSseError } from "../errors.js";
import type { ChannelLog } from "../replay/log-head.js";
import type { HubMember } from "./fan-out.js";

/** What a transport reports to its session. */
export interface TransportListener extends HubMember {
  /** The connection is lost. No more events arrive. */
  lost(fault: RedisSseError): void;
}

/**
 * Connects one session to Redis, over the shared hub or over its own connection. `unsubscribe()`, `close()` and `reset()`
 * are the stages of the teardown. Each is called even if the stage before it failed.
 */
export interface Transport {
  /**
   * Subscribes to channels. Resolves when Redis has acknowledged all of them, without a promise if it has already. Events may
   * arrive before that. `closing()` returns a signal that ends the wait.
   */
  subscribe(channels: readonly string[], closing: () => AbortSignal): Awaitable<void>;
  /** Unsubscribes from channels. Rejects with `INTERNAL` if none of them was subscribed. */
  unsubscribe(channels: readonly string[]): Promise<void>;
  /** Closes the session's own connection gracefully, if it has one. */
  close(): Promise<void>;
  /** Releases everything that is left, at once. Later calls do nothing. */
  reset(): void;
  /** Delivers the gathered messages now, to keep the order: the caller will do something that must come after them. */
  flush(): void;
  /** What is known about the history of a channel. Nothing is known if the channel is not subscribed. */
  log(channel: string): ChannelLog;
}

/** The owner of a transport. */
export interface TransportHolder {
  /** The text that operators see in reports of the pool. */
  readonly holder: string;
}

export type CreateTransport = (owner: TransportHolder, listener: TransportListener) => Transport;
