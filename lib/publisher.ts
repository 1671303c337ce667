import { diagnosticChannel } from "./catalogue/diagnostics.js";
import { RedisSseError } from "./errors.js";
import { assertChannel, parseSelection, type ChannelSelection } from "./events/channel-name.js";
import { serializeMessage, type OutboundMessage } from "./events/outbound-message.js";
import type { History } from "./history/history.js";
import type { LogReceipt } from "./history/log-publisher.js";
import type { StreamWriter, WriterOptions } from "./history/stream-writer.js";
import { encodeEntries, encodeEntry, encodeEventId, tagOf } from "./sse/event-id.js";
import { assertOptions, readFlag } from "./validate.js";

/** The result of `publish()` and `complete()`. */
export interface PublishReceipt {
  /** The id of the event for `lastEventId`. `null` if the channel has no history. */
  readonly id: string | null;
  /** How many Redis connections received the event: one for each process with streams, and other subscribers. */
  readonly receivers: number;
}

/** Options of `publish()`. */
export interface PublishOptions {
  /**
   * `false`: only clients that are connected now get the event. Redis does not keep it.
   *
   * @defaultValue the history option of the channel
   */
  readonly history?: boolean | undefined;
  /**
   * `true`: the channel will end with `complete()`. From now on, each new client gets the channel from its first event.
   *
   * @defaultValue false
   */
  readonly finite?: boolean | undefined;
}

export interface PublisherOptions {
  readonly history: Omit<History<unknown>, "reader">;
  readonly keyPrefix: string;
  readonly limits: { readonly maxEventBytes: number; readonly maxChannelsPerSession: number };
}

const PUBLISH_OPTIONS: ReadonlySet<string> = new Set<keyof PublishOptions>(["history", "finite"]);

const published = diagnosticChannel("redis-sse:publish");

/** Checks events of the application, and publishes them. */
export class Publisher {
  readonly #options: PublisherOptions;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** See `RedisSse.publish()`. */
  async publish(
    channel: string,
    message: OutboundMessage,
    options: PublishOptions = {},
  ): Promise<PublishReceipt> {
    assertChannel(channel, this.#options.keyPrefix);
    assertOptions("publish()", options, PUBLISH_OPTIONS);
    readFlag("history", options.history);
    readFlag("finite", options.finite);
    const serialized = serializeMessage(message, this.#options.limits.maxEventBytes);
    const { history, finite } = options;
    const kept = { ...(history !== undefined && { history }), ...(finite !== undefined && { finite }) };
    const receipt = toReceipt(channel, await this.#options.history.publish(channel, serialized, kept));
    if (published.hasSubscribers) {
      published.publish({ channel, event: serialized.event, length: serialized.data.length, ...receipt });
    }
    return receipt;
  }

  /** See `RedisSse.lastEventId()`. */
  async lastEventId(channels: ChannelSelection): Promise<string | null> {
    const { keyPrefix, limits } = this.#options;
    const names = parseSelection(channels, keyPrefix);
    if (names.length > limits.maxChannelsPerSession) {
      throw new RedisSseError(
        "LIMIT_CHANNELS",
        `expected at most ${limits.maxChannelsPerSession} channels, got ${names.length}`,
      );
    }
    const positions = await this.#options.history.positions(names);
    if (positions.length === 0) return null;
    return encodeEventId(positions.map(({ channel, ...position }) => ({ tag: tagOf(channel), ...position })));
  }

  /** See `RedisSse.complete()`. */
  async complete(channel: string, message?: OutboundMessage): Promise<PublishReceipt> {
    assertChannel(channel, this.#options.keyPrefix);
    const { maxEventBytes } = this.#options.limits;
    const last = message === undefined ? undefined : serializeMessage(message, maxEventBytes);
    return toReceipt(channel, await this.#options.history.complete(channel, last));
  }

  /** See `RedisSse.writer()`. */
  async writer(channel: string, options: WriterOptions = {}): Promise<StreamWriter> {
    assertChannel(channel, this.#options.keyPrefix);
    return this.#options.history.openWriter(channel, options);
  }
}

function toReceipt(channel: string, { position, receivers }: LogReceipt): PublishReceipt {
  return { id: position && encodeEntries(encodeEntry({ tag: tagOf(channel), ...position })), receivers };
}
