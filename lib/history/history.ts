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
import { readWriterOptions, StreamWriter, type WriterMessage, type WriterOptions } from "./stream-writer.js";

export interface HistoryDependencies<Event> {
  readonly commands: () => RedisClient;
  readonly keyPrefix: string;
  readonly policy: HistoryPolicy;
  readonly clock: Clock;
  readonly limits: {
    readonly maxEventBytes: number;
    readonly maxReplayEvents: number;
    readonly maxBufferedBytes: number;
    readonly closeTimeoutMs: number;
  };
  /** What goes on a channel without history. */
  readonly encodeEnvelope: (event: LoggedEvent) => string;
  /** Makes of an entry what sessions send, once for all of them. */
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
  /** Checks a message of an application and makes text of it. */
  readonly serialize: (message: WriterMessage) => LoggedEvent;
}

/** The most of a log that is read at once. */
const MAX_PAGE_BYTES = 128 * 1024;
/** How long the claim of a writer that has written nothing is kept. */
const QUIET_TTL_MS = 3_600_000;

/** The logs of all channels: who writes to them, and who reads them. */
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
    });
  }

  /** Whether events of this channel are kept. */
  keeps(channel: string): boolean {
    return this.#deps.policy(channel) !== null;
  }

  /** As `RedisSse.publish()`, with what was checked. */
  publish(
    channel: string,
    event: LoggedEvent,
    options: { history?: boolean; finite?: boolean } = {},
  ): Promise<LogReceipt> {
    return this.#publisher.publish(channel, event, options);
  }

  /** Where the logs of these channels stand now; those that are kept. */
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
    // Said now rather than with the first chunk.
    this.#deps.serialize({ event, data: "" });
    this.#assertKept(channel);
    const { commands, keyPrefix, clock, limits, serialize } = this.#deps;
    const { signal } = options;
    if (signal?.aborted) throw new RedisSseError("ABORTED", "the signal of this writer has fired");
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
      // It was claimed while the service closed: the next reader finds the lease run out.
      writer.drop();
      throw new RedisSseError("CLOSED", "this service is closed");
    }
    return writer;
  }

  /** Breaks off what is being written here: its readers are told. Never rejects, and is over within the deadline. */
  async close(): Promise<void> {
    this.#closed = true;
    const { clock, limits } = this.#deps;
    const broken = Promise.all(Array.from(this.#writers, (writer) => writer.abort()));
    const deadline = { clock, timeoutMs: limits.closeTimeoutMs, what: "writers to break off" };
    await withDeadline(broken, deadline).catch(() => {});
    for (const writer of this.#writers) writer.drop();
    this.reader.close();
  }

  #assertKept(channel: string): void {
    if (this.keeps(channel)) return;
    throw new RedisSseError("NO_HISTORY", "expected a channel whose history is kept");
  }
}
