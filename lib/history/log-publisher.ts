import { randomBytes, randomFillSync } from "node:crypto";

import type { Clock } from "../clock.js";
import { RedisSseError, sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import { historyKeys } from "./history-keys.js";
import type { HistoryBounds, HistoryPolicy } from "./history-policy.js";
import { publishToLog, type Ending, type PublishArguments } from "./history-scripts.js";
import { gatherWrites } from "../redis/gathered-writes.js";
import { KeyedPublisher } from "./keyed-publisher.js";
import { PublishedChannels, type PublishedChannel } from "./published-channels.js";

export interface LogPublisherOptions {
  readonly commands: () => RedisClient;
  readonly keyPrefix: string;
  readonly policy: HistoryPolicy;
  readonly clock: Clock;
  /** Encodes an event for a channel without history. */
  readonly encodeEnvelope: (event: LoggedEvent) => string;
}

export interface LoggedEvent {
  readonly event: string | undefined;
  readonly data: string;
}

export interface LogOptions {
  /** Default true. False: the event goes only to streams that are open now, and is not kept. */
  readonly history?: boolean;
  /** Makes this the channel's last event. */
  readonly ending?: Ending;
  /** The channel will be completed later. */
  readonly finite?: boolean;
  /** The lease of the writer, if one writer has the whole channel. */
  readonly writer?: string;
  /** The producer and the sequence of an event that is sent again. Default: this process and its next sequence. */
  readonly identity?: { readonly producer: string; readonly sequence: number };
  /** Replaces `maxLength` of the channel. */
  readonly maxLength?: number;
}

export interface LogReceipt {
  /** `null` if the event was not kept. */
  readonly position: { readonly epoch: string; readonly offset: number; readonly stamp?: number } | null;
  readonly receivers: number;
}

const EPOCH_BYTES = 4;
/** Filled with many epochs at a time, because every publish takes one. Almost all of them stay unused. */
const randomness = Buffer.alloc(256 * EPOCH_BYTES);
let randomnessUsed = randomness.length;

/** Makes a random epoch for a new log: 8 hexadecimal digits, not all 0. */
export function newEpoch(): string {
  if (randomnessUsed === randomness.length) {
    randomFillSync(randomness);
    randomnessUsed = 0;
  }
  const epoch = randomness.toString("hex", randomnessUsed, (randomnessUsed += EPOCH_BYTES));
  return epoch === "00000000" ? newEpoch() : epoch;
}

/**
 * Publishes events, and gives each a place in the channel's log. Each event carries its producer and a number that only grows.
 * If the connection is lost before the answer arrives, ioredis sends the event again. Because of the number, the event takes
 * effect once.
 */
export class LogPublisher {
  readonly #options: LogPublisherOptions;
  readonly #producer = randomBytes(6).toString("base64url");
  readonly #keyed = new KeyedPublisher();
  readonly #published: PublishedChannels;

  constructor(options: LogPublisherOptions) {
    this.#options = options;
    this.#published = new PublishedChannels(options.clock);
  }

  /** Rejects with `COMPLETED`, `CHANNEL_TAKEN` or a Redis error. Then nothing was published, unless the answer was lost. */
  async publish(channel: string, event: LoggedEvent, options: LogOptions = {}): Promise<LogReceipt> {
    const { policy, encodeEnvelope } = this.#options;
    const bounds = options.history === false ? null : policy(channel);
    try {
      if (bounds !== null) return await this.#publishInOrder(channel, event, bounds, options);
      return {
        position: null,
        receivers: await this.#publishUnlogged(channel, encodeEnvelope(event)),
      };
    } catch (error) {
      throw sanitize(error);
    }
  }

  async #publishUnlogged(channel: string, message: string): Promise<number> {
    const client = gatherWrites(this.#options.commands());
    if (!("nodes" in client)) return client.publish(channel, message);
    const { position } = historyKeys(this.#options.keyPrefix, channel);
    return this.#keyed.publish(client, position, channel, message);
  }

  /**
   * Events of one channel that are sent at the same time take effect in their order, or fail. A connection keeps their order,
   * except if the server has forgotten the script. Then the refused event is sent again, and later events would overtake it.
   * The script refuses such a later event (`early`). The publisher waits for the event before it, and sends it again.
   */
  #publishInOrder(
    channel: string,
    event: LoggedEvent,
    bounds: Required<HistoryBounds>,
    options: LogOptions,
  ): Promise<LogReceipt> {
    const { identity, ending = "", finite = false, writer = "", maxLength = bounds.maxLength } = options;
    const client = gatherWrites(this.#options.commands());
    const published = identity === undefined ? this.#published.of(channel) : null;
    const before = published?.underWay ?? null;
    const sent = this.#send(client, published, before, {
      channel,
      event: event.event ?? "",
      data: event.data,
      ending,
      epoch: newEpoch(),
      maxLength,
      maxAgeMs: bounds.maxAgeMs,
      producer: identity?.producer ?? this.#producer,
      sequence: identity?.sequence ?? this.#published.next(published!),
      previous: before !== null ? "under-way" : published && this.#published.acknowledged(published),
      writer,
      finite,
    });
    if (published !== null) published.underWay = sent;
    return sent;
  }

  async #send(
    client: RedisClient,
    published: PublishedChannel | null,
    before: Promise<unknown> | null,
    call: PublishArguments,
  ): Promise<LogReceipt> {
    try {
      const keys = historyKeys(this.#options.keyPrefix, call.channel);
      let reply = await publishToLog(client, keys, call);
      if (reply.status === "early" && published !== null) {
        await before?.catch(() => {});
        // If Redis still does not know an event that it has acknowledged, that event is lost.
        const previous = this.#published.acknowledged(published);
        reply = await publishToLog(gatherWrites(this.#options.commands()), keys, { ...call, previous });
      }
      if (reply.status !== "ok") throw channelRefusal(reply.status);
      const { epoch, offset, stamp, receivers } = reply;
      // Either the event was published and then removed, or a later event took effect first and this event never will. So do
      // not acknowledge it.
      if (offset === null) {
        throw new RedisSseError("REDIS_UNAVAILABLE", "it is not known whether this event was published");
      }
      if (published !== null) {
        this.#published.acknowledge(published, { epoch, sequence: call.sequence });
      }
      return { position: stamp === 0 ? { epoch, offset } : { epoch, offset, stamp }, receivers };
    } finally {
      if (published?.sequence === call.sequence) published.underWay = null;
    }
  }
}

/** The error for a channel that refuses an event. */
export function channelRefusal(status: "completed" | "taken" | "lost" | "early"): RedisSseError {
  switch (status) {
    case "completed":
      return new RedisSseError("COMPLETED", "expected a channel that is open, but this one was completed");
    case "taken":
      return new RedisSseError("CHANNEL_TAKEN", "expected a channel that nobody else writes");
    case "lost":
      return new RedisSseError(
        "STREAM_LOST",
        "expected what was written before to be in Redis still: it was lost",
      );
    case "early":
      return new RedisSseError("INTERNAL", "an unexpected error");
  }
}
