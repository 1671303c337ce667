import { monotonicNow, type Clock } from "../clock.js";
import { sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import type { ServerRun } from "../redis/server-run.js";
import { placeOf } from "../entry-id.js";
import { historyKeys } from "./history-keys.js";
import type { HistoryPolicy } from "./history-policy.js";
import { readFromLog, type LogContent, type ReadReply } from "./history-scripts.js";
import { gatherWrites } from "../redis/gathered-writes.js";
import type { Slices } from "../slices.js";

/** A place in a log. */
interface Place {
  readonly epoch: string;
  readonly offset: number;
  readonly stamp?: number;
  readonly previousStamp?: number;
  readonly since?: number;
  readonly run?: number;
}

export interface LogReaderOptions<Event> {
  readonly commands: () => RedisClient;
  readonly keyPrefix: string;
  readonly policy: HistoryPolicy;
  readonly clock: Clock;
  readonly slices: Slices;
  /** As `ServerRuns.current()`. */
  readonly serverRun: () => Promise<ServerRun>;
  /** Maximum bytes of data in a page. A page with a single event can be larger. */
  readonly maxPageBytes: number;
  /** The most memory of pages that are kept for other streams. */
  readonly maxCachedBytes: number;
  /** Converts an entry to the event that sessions send, once for all sessions. */
  readonly toEvent: (channel: string, place: Place, entry: LogContent) => Event;
  /** The approximate memory of an event. */
  readonly sizeOf: (event: Event) => number;
}

interface Tail {
  readonly position: Place;
  readonly ending: "completed" | "broken" | null;
  readonly finite: boolean;
  readonly first: number;
  readonly at: number;
  readonly isInvalid: boolean;
  readonly run: number;
  readonly mayHaveLost: boolean;
  readonly readAt: number;
}

interface Page<Event> extends Tail {
  readonly previousStamp: number;
  /** The place of the last event. */
  readonly last: Place | null;
  readonly events: readonly Event[];
}

/** The state of the log that the caller already knows. See `HistoryPort.read()`. */
interface Known {
  readonly since: number;
  readonly top: Place | null;
}

interface CachedPage<Event> {
  readonly readAt: number;
  readonly page: Promise<Page<Event>>;
  /** `null` until the read is complete. */
  known: Page<Event> | null;
  bytes: number;
  freshUntil: number;
}

interface CachedTail {
  readonly readAt: number;
  readonly tail: Promise<Tail>;
  /** When the read was complete, as `monotonicNow()`; `Infinity` before. */
  endedAt: number;
}

/** Counts of reads. */
export interface LogReaderStatistics {
  /** Reads from Redis: of pages, and of the state of a log. */
  readonly reads: number;
  /** Reads that were not needed, because streams shared another read. */
  readonly shared: number;
}

const MAX_PAGE_EVENTS = 256;
/** After a deploy or an outage, many clients reconnect and need the same pages within seconds. */
const CACHED_MS = 5_000;
/** The most channels whose state is cached. */
const MAX_CACHED_TAILS = 10_000;
const HOUR_MS = 3_600_000;
/** How long Redis keeps the hash after the newest event, in addition to `maxAgeMs`. */
const MEMORY_MS = 24 * HOUR_MS;

/** Reads logs in pages of limited size. Streams that need the same page at about the same time share one read. */
export class LogReader<Event> {
  readonly #options: LogReaderOptions<Event>;
  /** By channel, epoch, offset and stamp; the oldest first. */
  readonly #pages = new Map<string, CachedPage<Event>>();
  /** By channel; the oldest first. */
  readonly #tails = new Map<string, CachedTail>();
  /** The number of reads when a channel's pages were forgotten. They are dropped later. */
  readonly #forgottenAt = new Map<string, number>();
  #cancelSweep: (() => void) | null = null;
  #cachedBytes = 0;
  #reads = 0;
  #shared = 0;
  #closed = false;

  constructor(options: LogReaderOptions<Event>) {
    this.#options = options;
  }

  keeps(channel: string): boolean {
    return this.#options.policy(channel) !== null;
  }

  now(): number {
    return this.#reads;
  }

  beginsSilently(): boolean {
    return false;
  }

  memoryMs(channel: string): number {
    return (this.#options.policy(channel)?.maxAgeMs ?? 0) + MEMORY_MS;
  }

  get statistics(): LogReaderStatistics {
    return { reads: this.#reads, shared: this.#shared };
  }

  async tail(channel: string, since: number, maxAgeMs = 0): Promise<Tail> {
    const { clock } = this.#options;
    const cached = this.#tails.get(channel);
    if (cached !== undefined && cached.readAt > since && cached.endedAt > monotonicNow(clock) - maxAgeMs) {
      this.#shared++;
      return cached.tail;
    }
    const readAt = ++this.#reads;
    const tail = this.#read(channel, null).then(([reply, run]) => toTail(reply, run, readAt));
    const entry: CachedTail = { readAt, tail, endedAt: Infinity };
    this.#tails.delete(channel);
    this.#tails.set(channel, entry);
    if (this.#tails.size > MAX_CACHED_TAILS) {
      const [oldest] = this.#tails.keys();
      this.#tails.delete(oldest!);
    }
    try {
      const known = await tail;
      entry.endedAt = monotonicNow(clock);
      this.#sweepLater();
      return known;
    } catch (error) {
      if (this.#tails.get(channel) === entry) this.#tails.delete(channel);
      throw error;
    }
  }

  async peek(channel: string, after: Place, top: Place): Promise<Page<Event> | null> {
    const cached = this.#pageOf(channel, keyOf(channel, after));
    if (cached === undefined) return null;
    const page = await cached.page;
    if (!this.#isValid(page, channel, top)) return null;
    this.#shared++;
    return page;
  }

  async read(channel: string, after: Place, known: Known): Promise<Page<Event>> {
    const key = keyOf(channel, after);
    const since = Math.min(known.since, this.#reads);
    const isUseful = (page: Page<Event>): boolean =>
      page.readAt > since || this.#isValid(page, channel, known.top);
    const cached = this.#pageOf(channel, key);
    if (cached !== undefined && (cached.known === null || isUseful(cached.known))) {
      const page = await cached.page;
      // The read may have started too early for this caller.
      if (!isUseful(page)) return this.read(channel, after, { ...known, since });
      this.#shared++;
      return page;
    }
    this.#drop(key);
    const readAt = ++this.#reads;
    const page = this.#readPage(channel, after, readAt);
    const entry: CachedPage<Event> = { readAt, page, known: null, bytes: 0, freshUntil: Infinity };
    this.#pages.set(key, entry);
    try {
      const known = await page;
      if (this.#pages.get(key) === entry) this.#keep(key, entry, known);
      return known;
    } catch (error) {
      if (this.#pages.get(key) === entry) this.#drop(key);
      throw error;
    }
  }

  #pageOf(channel: string, key: string): CachedPage<Event> | undefined {
    const page = this.#pages.get(key);
    return page !== undefined && page.readAt > (this.#forgottenAt.get(channel) ?? 0) ? page : undefined;
  }

  /**
   * Whether a page is still valid if the newest event of the log is `top`. The log must still have all events after the page, and must
   * not have lost the last event of the page.
   */
  #isValid({ last }: Page<Event>, channel: string, top: Place | null): boolean {
    if (last === null || top === null || last.offset > top.offset) return false;
    if (last.offset === top.offset && last.stamp && top.stamp && last.stamp !== top.stamp) return false;
    return last.offset >= top.offset - (this.#options.policy(channel)?.maxLength ?? 0);
  }

  /** As `HistoryPort.forget()`. After a failover, this is called for many channels, so it does not look at all pages. */
  forget(channel: string): void {
    this.#tails.delete(channel);
    if (this.#pages.size > 0) this.#forgottenAt.set(channel, this.#reads);
  }

  /** Drops all pages. */
  close(): void {
    this.#closed = true;
    this.#cancelSweep?.();
    this.#cancelSweep = null;
    this.#pages.clear();
    this.#tails.clear();
    this.#forgottenAt.clear();
  }

  async #read(channel: string, after: Place | null): Promise<readonly [ReadReply, ServerRun]> {
    const { commands, keyPrefix, policy, maxPageBytes, serverRun } = this.#options;
    try {
      // Request the run before the read, so that it is the run of the server that answers the read.
      const run = serverRun();
      const reply = await readFromLog(gatherWrites(commands()), historyKeys(keyPrefix, channel), {
        channel,
        epoch: after?.epoch ?? "",
        after: after?.offset ?? 0,
        maxEvents: MAX_PAGE_EVENTS,
        maxBytes: maxPageBytes,
        maxAgeMs: policy(channel)?.maxAgeMs ?? HOUR_MS,
      });
      return [reply, await run];
    } catch (error) {
      throw sanitize(error);
    }
  }

  /** Redis may answer many reads in one turn, and each page takes time to parse. */
  async #readPage(channel: string, after: Place, readAt: number): Promise<Page<Event>> {
    const [reply, run] = await this.#read(channel, after);
    const turn = this.#options.slices.turn();
    if (turn !== undefined) await turn;
    return this.#toPage(channel, after, reply, run, readAt);
  }

  #toPage(
    channel: string,
    { offset: after }: Place,
    { entries: parse, ...state }: ReadReply,
    run: ServerRun,
    readAt: number,
  ): Page<Event> {
    const { toEvent } = this.#options;
    const entries = parse();
    const places = entries.map((entry) => placeOf(state.epoch, entry));
    const events = entries.map((entry, index) => toEvent(channel, places[index]!, entry));
    const [first] = entries;
    const known = after === state.top ? state.stamp : 0;
    const previousStamp = first?.offset === after + 1 ? first.previousStamp : known;
    return { ...toTail(state, run, readAt), previousStamp, last: places.at(-1) ?? null, events };
  }

  /** Caches a page with events. An empty page is not cached, because it has only the state of the log. */
  #keep(key: string, entry: CachedPage<Event>, page: Page<Event>): void {
    if (page.events.length === 0 || this.#closed) return this.#drop(key);
    entry.known = page;
    entry.bytes = page.events.reduce((sum, event) => sum + this.#options.sizeOf(event), 0);
    entry.freshUntil = monotonicNow(this.#options.clock) + CACHED_MS;
    this.#cachedBytes += entry.bytes;
    for (const [oldest, { known }] of this.#pages) {
      if (this.#cachedBytes <= this.#options.maxCachedBytes) break;
      if (known !== null) this.#drop(oldest);
    }
    this.#sweepLater();
  }

  #sweepLater(): void {
    if (!this.#closed) this.#cancelSweep ??= this.#options.clock.schedule(() => this.#sweep(), CACHED_MS);
  }

  #sweep(): void {
    this.#cancelSweep = null;
    const now = monotonicNow(this.#options.clock);
    let oldest = Infinity;
    for (const [key, { readAt, known, freshUntil }] of this.#pages) {
      if (known !== null && freshUntil <= now) this.#drop(key);
      else oldest = Math.min(oldest, readAt);
    }
    for (const [channel, at] of this.#forgottenAt) if (at < oldest) this.#forgottenAt.delete(channel);
    for (const [channel, { endedAt }] of this.#tails) if (endedAt <= now) this.#tails.delete(channel);
    if (this.#pages.size > 0 || this.#tails.size > 0) this.#sweepLater();
  }

  #drop(key: string): void {
    const entry = this.#pages.get(key);
    if (entry === undefined) return;
    this.#pages.delete(key);
    this.#cachedBytes -= entry.bytes;
  }
}

function keyOf(channel: string, { epoch, offset, stamp = 0 }: Place): string {
  return `${channel}\n${epoch}\n${offset}\n${stamp}`;
}

function toTail(reply: Omit<ReadReply, "entries">, run: ServerRun, readAt: number): Tail {
  const { epoch, top, stamp, ending, finite, first, at, isInvalid } = reply;
  const position =
    epoch === ""
      ? { epoch, offset: 0, since: at, run: run.id }
      : { epoch, offset: top, ...(stamp !== 0 && { stamp }) };
  return {
    position,
    ending: ending === "" ? null : ending,
    finite,
    first,
    at,
    isInvalid,
    run: run.id,
    mayHaveLost: run.mayHaveLost,
    readAt,
  };
}
