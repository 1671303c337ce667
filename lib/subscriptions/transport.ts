import type { RedisSseError } from "../errors.js";
import type { ChannelLog } from "../replay/log-head.js";
import type { HubMember } from "./fan-out.js";

/** What a transport tells its session. */
export interface TransportListener extends HubMember {
  /** The connection is lost for good: nothing more comes. */
  lost(fault: RedisSseError): void;
}

/**
 * How one session reaches Redis: over the hub, with all others, or over a connection of its own. The last
 * three methods are the stages of the teardown, each called whatever the one before has done.
 */
export interface Transport {
  /** Resolves when all channels are acknowledged. Events may arrive before that. */
  subscribe(channels: readonly string[], signal: AbortSignal): Promise<void>;
  /** Rejects with `INTERNAL` when none of the channels was subscribed. */
  unsubscribe(channels: readonly string[]): Promise<void>;
  /** Ends what the session holds of its own, gracefully. */
  close(): Promise<void>;
  /** Drops all that is left, at once; later calls do nothing. */
  reset(): void;
  /** Passes on what has come so far: something is about to happen that it came before. */
  flush(): void;
  /** What is known of a channel's log: of one that is not subscribed, nothing. */
  log(channel: string): ChannelLog;
}

/** Who a transport is made for. */
export interface TransportHolder {
  /** As operators are to see it. */
  readonly holder: string;
}

export type CreateTransport = (owner: TransportHolder, listener: TransportListener) => Transport;
