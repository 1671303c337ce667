import { randomBytes } from "node:crypto";

import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import { ServerRuns } from "../redis/server-run.js";
import { historyKeys } from "./history-keys.js";
import type { HistoryPolicy } from "./history-policy.js";
import { claimChannel, renewChannel, type LogContent } from "./history-scripts.js";
import {
  channelRefusal,
  LogPublisher,
  newEpoch,
  type LoggedEvent,
  type LogReceipt,
} from "./log-publisher.js";
import { LogReader } from "./log-reader.js";
import type { Slices } from "../slices.js";
import { readWriterOptions, StreamWriter, type WriterMessage, type WriterOptions } from "./stream-writer.js";

export interface HistoryDependencies<Event> {
  readonly commands: () => RedisClient;
  readonly keyPrefix: string;
  readonly policy: HistoryPolicy;
  readonly clock: Clock;
  readonly slices: Slices;
  readonly limits: {
    readonly maxEventBytes: number;
    readonly maxReplayEvents: number;
    readonly maxBufferedBytes: number;
    readonly maxTotalBufferedBytes: number;
    readonly closeTimeoutMs: number;
  };
  /** Encodes an event for a channel without history. */
  readonly encodeEnvelope: (event: LoggedEvent) => string;
  /** Converts an entry to the event that sessions send, once for all sessions. */
  readonly toEvent: (
    channel: string,
    place: {
      readonly epoch: string;
      readonly offset: number;
      readonly stamp?: number;
      readonly previousStamp?: number;
    },
    entry: LogContent,
  ) => Event;
  readonly sizeOf: (event: Event) => number;
  /** Checks an event of the application, and converts its data to text. */
  readonly serialize: (message: WriterMessage) => LoggedEvent;
}

/** Maximum size of one page of a log. */
const MAX_PAGE_BYTES = 128 * 1024;
/** How long the claim of a writer is kept before its first event. */
const QUIET_TTL_MS = 3_600_000;

/** Writes and reads the histories of all channels. */
export class History<Event> {
  readonly reader: LogReader<Event>;
  readonly #deps: HistoryDependencies<Event>;
  readonly #publisher: LogPublisher;
  readonly #writers = new Set<StreamWriter>();
  #closed = false;

  constructor(deps: HistoryDependencies<Event>) {
    const { limits } = deps;
    this.#deps = deps;
    this.#publisher = new LogPublisher(deps);
    const runs = new ServerRuns(deps.commands);
    this.reader = new LogReader({
      ...deps,
      serverRun: () => runs.current(),
      maxPageBytes: Math.min(MAX_PAGE_BYTES, limits.maxBufferedBytes / 4),
      maxCachedBytes: limits.maxTotalBufferedBytes / 4,
    });
  }

  /** Whether this channel has a history. */
  keeps(channel: string): boolean {
    return this.#deps.policy(channel) !== null;
  }

  /** As `RedisSse.publish()`, with arguments that are already checked. */
  publish(
    channel: string,
    event: LoggedEvent,
    options: { history?: boolean; finite?: boolean } = {},
  ): Promise<LogReceipt> {
    return this.#publisher.publish(channel, event, options);
  }

  /** Returns the newest places of those channels that have a history. */
  async positions(channels: readonly string[]): Promise<
    readonly {
      channel: string;
      epoch: string;
      offset: number;
      stamp?: number;
      since?: number;
      run?: number;
    }[]
  > {
    const kept = channels.filter((channel) => this.keeps(channel));
    const { reader } = this;
    const tails = await Promise.all(kept.map((channel) => reader.tail(channel, reader.now())));
    return kept.map((channel, index) => ({ channel, ...tails[index]!.position }));
  }

  /** As `RedisSse.complete()`. */
  async complete(channel: string, event: LoggedEvent | undefined): Promise<LogReceipt> {
    this.#assertKept(channel);
    return this.#publisher.publish(channel, event ?? { event: undefined, data: "" }, { ending: "completed" });
  }

  /** As `RedisSse.writer()`. */
  async openWriter(channel: string, options: WriterOptions): Promise<StreamWriter> {
    const settings = readWriterOptions(options);
    const { event } = options;
    // An invalid event name is reported now, not at the first chunk.
    this.#deps.serialize({ event, data: "" });
    this.#assertKept(channel);
    const { commands, keyPrefix, clock, limits, serialize } = this.#deps;
    const { signal } = options;
    if (signal?.aborted) throw new RedisSseError("ABORTED", "The signal of this writer was already aborted.");
    const keys = historyKeys(keyPrefix, channel);
    const token = randomBytes(9).toString("base64url");
    const claim = { token, leaseMs: settings.leaseMs, epoch: newEpoch(), quietTtlMs: QUIET_TTL_MS };
    const status = await claimChannel(commands(), keys, claim).catch((error: unknown) => {
      throw sanitize(error);
    });
    if (status !== "ok") throw channelRefusal(status);
    const onAbort = (): void => void writer.abort();
    const writer = new StreamWriter(
      channel,
      {
        clock,
        token,
        maxEventBytes: limits.maxEventBytes,
        maxEvents: limits.maxReplayEvents,
        serialize,
        renew: async (leaseMs) => renewChannel(commands(), keys, { token, leaseMs }),
        publish: (event, given) => this.#publisher.publish(channel, event, given),
      },
      event,
      settings,
      () => {
        this.#writers.delete(writer);
        signal?.removeEventListener("abort", onAbort);
      },
    );
    this.#writers.add(writer);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    if (this.#closed) {
      // The channel was claimed while the service closed. The lease expires, and then a reader marks the channel as broken.
      writer.drop();
      throw new RedisSseError("CLOSED", "this service is closed");
    }
    return writer;
  }

  /** Aborts all writers of this process, so that their clients get an `error` event. It has a deadline. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    const { clock, limits } = this.#deps;
    const broken = Promise.all(Array.from(this.#writers, (writer) => writer.abort()));
    const deadline = { clock, timeoutMs: limits.closeTimeoutMs, what: "all writers to abort" };
    await withDeadline(broken, deadline).catch(() => {});
    for (const writer of this.#writers) writer.drop();
    this.reader.close();
  }

  #assertKept(channel: string): void {
    if (this.keeps(channel)) return;
    throw new RedisSseError("NO_HISTORY", "This channel has no history. Enable it with the option history.");
  }
}
