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
  /**
   * False: only streams that are open now get the event. It is not kept.
   *
   * @defaultValue true
   */
  readonly history?: boolean;
  /** Makes this event the last one of the channel. */
  readonly ending?: Ending;
  /** True if the channel will be completed later. */
  readonly finite?: boolean;
  /** The lease of the writer, if a writer has exclusive use of the channel. */
  readonly writer?: string;
  /**
   * The producer and the number of the event. An event that is sent again has the same values.
   *
   * @defaultValue this process, and its next number
   */
  readonly identity?: { readonly producer: string; readonly sequence: number };
  /** Overrides `maxLength` of the channel. */
  readonly maxLength?: number;
}

export interface LogReceipt {
  /** `null` if the event was not kept. */
  readonly position: { readonly epoch: string; readonly offset: number; readonly stamp?: number } | null;
  readonly receivers: number;
}

const EPOCH_BYTES = 4;
/** Random bytes for many epochs, because every publish needs one, in case it starts a new log. */
const randomness = Buffer.alloc(256 * EPOCH_BYTES);
let randomnessUsed = randomness.length;

/** Returns a random epoch for a new log: 8 hexadecimal digits, not all 0. */
export function newEpoch(): string {
  if (randomnessUsed === randomness.length) {
    randomFillSync(randomness);
    randomnessUsed = 0;
  }
  const epoch = randomness.toString("hex", randomnessUsed, (randomnessUsed += EPOCH_BYTES));
  return epoch === "00000000" ? newEpoch() : epoch;
}

/**
 * Publishes events, and assigns each a place in the channel's log.
 *
 * Each event carries its producer and an increasing number. If the connection is lost before the answer arrives, ioredis sends the
 * event again. The script recognizes the number, so the event takes effect once.
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

  /** Rejects with `COMPLETED`, `CHANNEL_TAKEN` or a Redis error. Then the event was not published, unless only the answer was lost. */
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
   * Publishes concurrent events of one channel in order.
   *
   * A connection keeps the order, except if the server does not know the script. Then ioredis sends the refused event again, and later
   * events could overtake it. The script refuses an event that comes too early (`early`). The publisher waits for the previous event,
   * and sends the early event again.
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
        // If Redis still does not know an event that it acknowledged, this event is lost.
        const previous = this.#published.acknowledged(published);
        reply = await publishToLog(gatherWrites(this.#options.commands()), keys, { ...call, previous });
      }
      if (reply.status !== "ok") throw channelRefusal(reply.status);
      const { epoch, offset, stamp, receivers } = reply;
      // Either the event was published and then trimmed, or a later event took effect first and this event is refused. So the event
      // is not acknowledged.
      if (offset === null) {
        throw new RedisSseError(
          "REDIS_UNAVAILABLE",
          "It is unknown whether this event was published. If you publish it again, clients can get it twice.",
        );
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
      return new RedisSseError("COMPLETED", "This channel was completed. Use another channel.");
    case "taken":
      return new RedisSseError(
        "CHANNEL_TAKEN",
        "A writer has exclusive use of this channel. Use another channel.",
      );
    case "lost":
      return new RedisSseError(
        "STREAM_LOST",
        "Redis lost the earlier part of this stream. Start again with a new writer on another channel.",
      );
    case "early":
      return new RedisSseError("INTERNAL", "an unexpected error");
  }
}
