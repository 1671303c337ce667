import { randomBytes } from "node:crypto";

import { RedisSseError, sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import { historyKeys } from "./history-keys.js";
import type { HistoryPolicy } from "./history-policy.js";
import { publishToLog, type Ending } from "./history-scripts.js";

export interface LogPublisherOptions {
  readonly commands: () => RedisClient;
  readonly keyPrefix: string;
  readonly policy: HistoryPolicy;
  /** What goes on a channel without history. */
  readonly encodeEnvelope: (event: LoggedEvent) => string;
}

export interface LoggedEvent {
  readonly event: string | undefined;
  readonly data: string;
}

export interface LogOptions {
  /** Default true; false publishes to who listens now, and keeps nothing. */
  readonly history?: boolean;
  /** Makes this the channel's last event. */
  readonly ending?: Ending;
  /** The channel will be completed one day. */
  readonly finite?: boolean;
  /** The lease of who writes the whole channel. */
  readonly writer?: string;
  /** Which event of which producer this is, for one that is tried again. Default: the next of this process. */
  readonly identity?: { readonly producer: string; readonly sequence: number };
  /** Other bounds than the channel's own. */
  readonly maxLength?: number;
}

export interface LogReceipt {
  /** `null` where nothing was kept. */
  readonly position: { readonly epoch: string; readonly offset: number } | null;
  readonly receivers: number;
}

let lastEpoch = randomBytes(4).readUInt32BE(0);

/** An epoch for a log that has none: another one with each call, from a beginning that no other process has. */
export function newEpoch(): string {
  lastEpoch = (lastEpoch + 1) >>> 0;
  return lastEpoch.toString(16).padStart(8, "0");
}

/**
 * Publishes, with a place in the channel's log. Every event bears who publishes it and a number that only grows,
 * so that one that ioredis sends again, since its answer was lost with the connection, takes effect once.
 */
export class LogPublisher {
  readonly #options: LogPublisherOptions;
  readonly #producer = randomBytes(6).toString("base64url");
  #sequence = 0;

  constructor(options: LogPublisherOptions) {
    this.#options = options;
  }

  /** Rejects with `COMPLETED`, `CHANNEL_TAKEN`, or a fault of Redis; then nothing was published. */
  async publish(
    channel: string,
    { event, data }: LoggedEvent,
    options: LogOptions = {},
  ): Promise<LogReceipt> {
    const { commands, keyPrefix, policy, encodeEnvelope } = this.#options;
    const { history = true, ending = "", finite = false, writer = "", maxLength } = options;
    const identity = options.identity ?? { producer: this.#producer, sequence: ++this.#sequence };
    const bounds = history ? policy(channel) : null;
    try {
      if (bounds === null) {
        const receivers = await commands().publish(channel, encodeEnvelope({ event, data }));
        return { position: null, receivers };
      }
      const reply = await publishToLog(commands(), historyKeys(keyPrefix, channel), {
        channel,
        event: event ?? "",
        data,
        ending,
        epoch: newEpoch(),
        maxLength: maxLength ?? bounds.maxLength,
        maxAgeMs: bounds.maxAgeMs,
        ...identity,
        writer,
        finite,
      });
      if (reply.status !== "ok") throw channelRefusal(reply.status);
      const { epoch, offset, receivers } = reply;
      // Overtaken by a later event while the server had forgotten the script, it was never published; or it was, and
      // is dropped already. Nobody can tell which, so it is not acknowledged.
      if (offset === null) {
        throw new RedisSseError("REDIS_UNAVAILABLE", "it is not known whether this event was published");
      }
      return { position: { epoch, offset }, receivers };
    } catch (error) {
      throw sanitize(error);
    }
  }
}

/** Why a channel takes no event. */
export function channelRefusal(status: "completed" | "taken"): RedisSseError {
  return status === "completed"
    ? new RedisSseError("COMPLETED", "expected a channel that is open, but this one was completed")
    : new RedisSseError("CHANNEL_TAKEN", "expected a channel that nobody else writes");
}
