import type { Clock } from "../clock.js";
import { RedisSseError, subscribeFault } from "../errors.js";
import { createLog, printable } from "../log.js";

/** The connection, as the reconciler needs it. */
export interface SubscriptionPort {
  /** Whether a command would be sent now. */
  isReady(): boolean;
  subscribe(channels: readonly string[]): Promise<void>;
  unsubscribe(channels: readonly string[]): Promise<void>;
}

export interface ReconcilerHandlers {
  /** These were subscribed before the connection was lost, and are again: messages between are gone. */
  onResubscribed(channels: readonly string[]): void;
  /** The server refuses a wanted channel. Those who wait for it are told by their promise. */
  onRefused(channel: string, fault: RedisSseError): void;
}

type Operation = "subscribe" | "unsubscribe";

interface Entry {
  readonly name: string;
  wanted: boolean;
  /** As of the last acknowledgement on this connection. */
  subscribed: boolean;
  /** At most one at a time: its acknowledgement, and nothing else, decides what comes next. */
  operation: Operation | null;
  /** Everyone who waits for the acknowledgement shares this one promise. */
  waiting: Deferred | null;
}

/** The reconciler at one moment, to be held against the server's own account. */
export interface ReconcilerAccount {
  /** Channels that are subscribed and have nothing under way, wanted or not. */
  readonly settled: number;
  /** Channels with an operation under way: the server may have them or not. */
  readonly unsettled: number;
  /** Operations on a channel that were begun so far. */
  readonly begun: number;
  /** Connections that were lost so far. */
  readonly losses: number;
}

interface Deferred {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(fault: RedisSseError): void;
}

const log = createLog("hub");

/** What one SUBSCRIBE may carry: enough to bring 10,000 channels back in a moment, and no long block. */
const MAX_BATCH = 512;

/** Before a command that failed on a live connection is tried again. */
const RETRY_MS = 500;

/**
 * Keeps the server's subscriptions equal to the wanted ones. For each channel it compares wanted with
 * actual, has one operation in flight, and looks again when that is done. A plain count of references does
 * not do: with a SUBSCRIBE and an UNSUBSCRIBE on their way at once, channels end up deaf.
 *
 * An operation has no deadline: one that is given up may still take effect. The connection has one, those
 * who wait have theirs, and an answer that comes late is compared with what is wanted by then.
 */
export class SubscriptionReconciler {
  readonly #port: SubscriptionPort;
  readonly #handlers: ReconcilerHandlers;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  /** Entries to look at when this turn of the loop is over, so that its operations go out as one command. */
  readonly #dirty = new Set<Entry>();
  /** Wanted channels that were subscribed when a connection was lost, and are missed since. */
  readonly #interrupted = new Set<string>();
  #flush: NodeJS.Immediate | null = null;
  #cancelRetry: (() => void) | null = null;
  #begun = 0;
  #losses = 0;
  #closed = false;

  constructor(port: SubscriptionPort, handlers: ReconcilerHandlers, clock: Clock) {
    this.#port = port;
    this.#handlers = handlers;
    this.#clock = clock;
  }

  /** How many channels the server has acknowledged. */
  get subscribedCount(): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.subscribed) count++;
    return count;
  }

  get account(): ReconcilerAccount {
    let settled = 0;
    let unsettled = 0;
    for (const { subscribed, operation } of this.#entries.values()) {
      if (operation !== null) unsettled++;
      else if (subscribed) settled++;
    }
    return { settled, unsettled, begun: this.#begun, losses: this.#losses };
  }

  /** Resolves when the channel is subscribed; rejects when it is refused, or no longer wanted. */
  want(name: string): Promise<void> {
    if (this.#closed) return Promise.reject(new RedisSseError("CLOSED", "this service is closed"));
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = { name, wanted: true, subscribed: false, operation: null, waiting: null };
      this.#entries.set(name, entry);
    }
    entry.wanted = true;
    if (entry.subscribed && entry.operation === null) return Promise.resolve();
    entry.waiting ??= createDeferred();
    this.#touch(entry);
    return entry.waiting.promise;
  }

  unwant(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.wanted = false;
    this.#interrupted.delete(name);
    entry.waiting?.reject(new RedisSseError("ABORTED", "the channel is no longer wanted"));
    entry.waiting = null;
    this.#touch(entry);
  }

  /** The connection is ready: whatever differs from what is wanted is sent, but for what is still in flight. */
  connectionReady(): void {
    for (const entry of this.#entries.values()) this.#touch(entry);
  }

  /** The connection is lost, and the server has forgotten everything. */
  connectionLost(): void {
    this.#losses++;
    for (const entry of this.#entries.values()) {
      if (entry.subscribed && entry.wanted) this.#interrupted.add(entry.name);
      entry.subscribed = false;
    }
  }

  /**
   * A message of this channel has come. One that follows its SUBSCRIBE closely comes before the promise of the
   * acknowledgement continues: that there was a gap has to be told before it.
   */
  heard(name: string): void {
    if (this.#interrupted.size === 0 || !this.#interrupted.delete(name)) return;
    // It proves the subscription: a loss before the promise continues is another gap.
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.subscribed = true;
    this.#handlers.onResubscribed([name]);
  }

  /** Refuses those who wait, and does nothing from now on; answers what the server may still hold. */
  close(): readonly string[] {
    this.#closed = true;
    this.#cancelRetry?.();
    if (this.#flush !== null) clearImmediate(this.#flush);
    this.#flush = null;
    this.#dirty.clear();
    this.#interrupted.clear();
    const held: string[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.subscribed || entry.operation === "subscribe") held.push(entry.name);
      entry.wanted = false;
      entry.waiting?.reject(new RedisSseError("CLOSED", "this service is closed"));
      entry.waiting = null;
    }
    this.#entries.clear();
    return held;
  }

  #touch(entry: Entry): void {
    if (this.#closed) return;
    this.#dirty.add(entry);
    this.#flush ??= setImmediate(() => {
      this.#flush = null;
      this.#reconcile();
    });
  }

  #reconcile(): void {
    const entries = [...this.#dirty];
    this.#dirty.clear();
    const subscribe: Entry[] = [];
    const unsubscribe: Entry[] = [];
    for (const entry of entries) {
      if (entry.operation !== null) continue;
      if (entry.wanted === entry.subscribed) this.#agree(entry);
      // Without a connection nothing is queued: connectionReady() looks at every entry again.
      else if (!this.#port.isReady()) this.#forgetUnwanted(entry);
      else (entry.wanted ? subscribe : unsubscribe).push(entry);
    }
    for (const batch of batches(subscribe)) void this.#run("subscribe", batch);
    for (const batch of batches(unsubscribe)) void this.#run("unsubscribe", batch);
  }

  #agree(entry: Entry): void {
    if (entry.wanted) {
      entry.waiting?.resolve();
      entry.waiting = null;
    } else {
      this.#forgetUnwanted(entry);
    }
  }

  #forgetUnwanted(entry: Entry): void {
    if (!entry.wanted && this.#entries.get(entry.name) === entry) this.#entries.delete(entry.name);
  }

  /** Runs one command for a batch; never rejects. */
  async #run(operation: Operation, batch: readonly Entry[]): Promise<void> {
    this.#begun += batch.length;
    for (const entry of batch) entry.operation = operation;
    try {
      await this.#port[operation](batch.map(({ name }) => name));
      this.#acknowledged(operation, batch);
    } catch (error) {
      const fault = subscribeFault(error);
      // SUBSCRIBE is all or nothing: one channel that the ACL denies refuses its whole batch.
      if (batch.length > 1 && isRefusal(fault) && !this.#closed) {
        for (const entry of batch) void this.#run(operation, [entry]);
        return;
      }
      this.#failed(operation, batch, fault);
      // Where the connection is lost, its return tries again. Where it is not, something between answers for
      // the server, and may do so at once: not again before a pause.
      if (!isRefusal(fault)) return this.#retryLater();
    }
    for (const entry of batch) this.#touch(entry);
  }

  #retryLater(): void {
    if (this.#closed) return;
    this.#cancelRetry ??= this.#clock.schedule(() => {
      this.#cancelRetry = null;
      this.connectionReady();
    }, RETRY_MS);
  }

  #acknowledged(operation: Operation, batch: readonly Entry[]): void {
    const resubscribed: string[] = [];
    for (const entry of batch) {
      entry.operation = null;
      entry.subscribed = operation === "subscribe";
      if (entry.subscribed && entry.wanted) {
        if (this.#interrupted.delete(entry.name)) resubscribed.push(entry.name);
        entry.waiting?.resolve();
        entry.waiting = null;
      }
    }
    if (resubscribed.length > 0) this.#handlers.onResubscribed(resubscribed);
  }

  #failed(operation: Operation, batch: readonly Entry[], fault: RedisSseError): void {
    for (const entry of batch) {
      entry.operation = null;
      // An UNSUBSCRIBE that fails is forgotten with its connection; nobody listens to the channel any more.
      if (operation === "unsubscribe") entry.subscribed = false;
      // A connection that failed comes back, and connectionReady() tries again; those who wait have deadlines.
      else if (isRefusal(fault)) this.#refused(entry, fault);
    }
    log("%s failed for %d channels: %s", operation, batch.length, fault.message);
  }

  #refused(entry: Entry, fault: RedisSseError): void {
    const { waiting, wanted } = entry;
    entry.wanted = false;
    entry.waiting = null;
    this.#interrupted.delete(entry.name);
    log("subscribe refused: %s: %s", printable(entry.name), fault.message);
    waiting?.reject(fault);
    if (wanted) this.#handlers.onRefused(entry.name, fault);
  }
}

/** Whether the server answered no, in contrast to a connection that gave no answer. */
function isRefusal(fault: RedisSseError): boolean {
  return fault.code === "SUBSCRIBE_REFUSED";
}

function* batches<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < items.length; start += MAX_BATCH) yield items.slice(start, start + MAX_BATCH);
}

function createDeferred(): Deferred {
  let resolve!: () => void;
  let reject!: (fault: RedisSseError) => void;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  // Whoever waits sees the rejection through their own copy; nobody may be left to see it at all.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
