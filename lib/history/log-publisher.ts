import { randomBytes, randomFillSync } from "node:crypto";

import { monotonicNow, type Clock } from "../clock.js";
import { RedisSseError, sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import { historyKeys } from "./history-keys.js";
import type { HistoryBounds, HistoryPolicy } from "./history-policy.js";
import { publishToLog, type Ending, type PublishReply } from "./history-scripts.js";
import { gatherWrites } from "../redis/gathered-writes.js";
import { KeyedPublisher } from "./keyed-publisher.js";

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
  /** The lease of the writer of the whole channel. */
  readonly writer?: string;
  /** The producer and the sequence of an event that is sent again. Default: this process and its next sequence. */
  readonly identity?: { readonly producer: string; readonly sequence: number };
  /** Other bounds than the channel's own. */
  readonly maxLength?: number;
}

interface UnderWay {
  readonly sequence: number;
  readonly sent: Promise<LogReceipt>;
}

interface Acknowledged {
  readonly epoch: string;
  readonly sequence: number;
  /** When, by the monotonic clock. */
  readonly at: number;
}

/** The last acknowledged event is remembered for this number of channels. */
const MAX_REMEMBERED = 10_000;
/** Logs forget a producer after ten minutes. */
const REMEMBERED_MS = 300_000;

export interface LogReceipt {
  /** `null` where nothing was kept. */
  readonly position: { readonly epoch: string; readonly offset: number; readonly stamp?: number } | null;
  readonly receivers: number;
}

const EPOCH_BYTES = 4;
/** Filled with many epochs at a time: every publish makes one, and nearly none is used. */
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
 * Publishes events, with a place in the channel's log. Each event has the name of its producer and a number that only grows.
 * So an event that ioredis sends again, because its answer was lost with the connection, takes effect once.
 */
export class LogPublisher {
  readonly #options: LogPublisherOptions;
  readonly #producer = randomBytes(6).toString("base64url");
  readonly #keyed = new KeyedPublisher();
  #sequence = 0;
  /** The last event of each channel that Redis has not answered yet. */
  readonly #latest = new Map<string, UnderWay>();
  /**
   * The last acknowledged event of each channel, the oldest first. If a log does not have this event, Redis has lost it in a
   * failover or a restart, and maybe no reader got it. Then the next event of the channel says so.
   */
  readonly #acknowledged = new Map<string, Acknowledged>();

  constructor(options: LogPublisherOptions) {
    this.#options = options;
  }

  /** Rejects with `COMPLETED`, `CHANNEL_TAKEN`, or a fault of Redis. Then nothing was published, unless the answer was lost. */
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
   * except when the server has forgotten the script: then a refused event is sent again, and later events would take effect
   * before it. The script refuses such a later event (`early`). It waits for the event before it, and is sent again.
   */
  #publishInOrder(
    channel: string,
    event: LoggedEvent,
    bounds: Required<HistoryBounds>,
    options: LogOptions,
  ): Promise<LogReceipt> {
    const identity = options.identity ?? { producer: this.#producer, sequence: ++this.#sequence };
    const before = options.identity === undefined ? this.#latest.get(channel) : undefined;
    const send = (after: number, afterEpoch = ""): Promise<PublishReply> => {
      const { commands, keyPrefix } = this.#options;
      const { ending = "", finite = false, writer = "", maxLength = bounds.maxLength } = options;
      return publishToLog(gatherWrites(commands()), historyKeys(keyPrefix, channel), {
        channel,
        event: event.event ?? "",
        data: event.data,
        ending,
        epoch: newEpoch(),
        maxLength,
        maxAgeMs: bounds.maxAgeMs,
        ...identity,
        after,
        afterEpoch,
        writer,
        finite,
      });
    };
    const sent = this.#send(channel, options, send, before);
    if (options.identity === undefined) this.#remember(channel, identity.sequence, sent);
    return sent;
  }

  async #send(
    channel: string,
    options: LogOptions,
    send: (after: number, afterEpoch?: string) => Promise<PublishReply>,
    before: UnderWay | undefined,
  ): Promise<LogReceipt> {
    const sendBehindAcknowledged = (): Promise<PublishReply> => {
      const known = this.#acknowledgedOn(channel, options);
      return known === undefined ? send(0) : send(known.sequence, known.epoch);
    };
    let reply = await (before === undefined ? sendBehindAcknowledged() : send(before.sequence));
    if (reply.status === "early") {
      await before?.sent.catch(() => {});
      // What was acknowledged by now, and Redis still does not know, is lost.
      reply = await sendBehindAcknowledged();
    }
    if (reply.status !== "ok") throw channelRefusal(reply.status);
    const { epoch, offset, stamp, receivers } = reply;
    // It was published and has been removed since, or a later event took effect before it, and it never will. So it is not
    // acknowledged.
    if (offset === null) {
      throw new RedisSseError("REDIS_UNAVAILABLE", "it is not known whether this event was published");
    }
    return { position: { epoch, offset, ...(stamp !== 0 && { stamp }) }, receivers };
  }

  #remember(channel: string, sequence: number, sent: Promise<LogReceipt>): void {
    const underWay = { sequence, sent };
    this.#latest.set(channel, underWay);
    const forget = (): void => {
      if (this.#latest.get(channel) === underWay) this.#latest.delete(channel);
    };
    sent.then(({ position }) => {
      forget();
      this.#acknowledge(channel, position!.epoch, sequence);
    }, forget);
  }

  #acknowledge(channel: string, epoch: string, sequence: number): void {
    this.#acknowledged.delete(channel);
    this.#acknowledged.set(channel, { epoch, sequence, at: monotonicNow(this.#options.clock) });
    if (this.#acknowledged.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#acknowledged.keys()) {
      this.#acknowledged.delete(oldest);
      return;
    }
  }

  /** The last acknowledged event of a channel, if the log must still know it. */
  #acknowledgedOn(channel: string, { identity }: LogOptions): Acknowledged | undefined {
    if (identity !== undefined) return undefined;
    const known = this.#acknowledged.get(channel);
    const isKnown = known !== undefined && monotonicNow(this.#options.clock) - known.at <= REMEMBERED_MS;
    return isKnown ? known : undefined;
  }
}

/** Why a channel takes no event. */
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
