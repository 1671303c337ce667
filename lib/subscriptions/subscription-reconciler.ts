import type { Awaitable } from "../awaitable.js";
import type { Clock } from "../clock.js";
import { RedisSseError, subscribeFault } from "../errors.js";
import { createLog, printable } from "../log.js";

/** The parts of the connection that the reconciler uses. */
export interface SubscriptionPort {
  /** Whether the connection can send a command now. */
  isReady(): boolean;
  subscribe(channels: readonly string[]): Promise<void>;
  unsubscribe(channels: readonly string[]): Promise<void>;
}

export interface ReconcilerHandlers {
  /** These channels are subscribed again after the connection was lost. Messages in between were missed. */
  onResubscribed(channels: readonly string[]): void;
  /** Redis refuses a wanted channel. The promise of `want()` rejects as well. */
  onRefused(channel: string, fault: RedisSseError): void;
}

type Operation = "subscribe" | "unsubscribe";

interface Entry {
  readonly name: string;
  wanted: boolean;
  /** Whether the last acknowledgement on this connection was for SUBSCRIBE. */
  subscribed: boolean;
  /** The pending operation. Only after it has finished can the next one start. */
  operation: Operation | null;
  /** All calls that wait for the acknowledgement share this promise. */
  waiting: Deferred | null;
}

/** The state of the reconciler at one moment, to compare with the report of the Redis server. */
export interface ReconcilerAccount {
  /** Subscribed channels without a pending operation, whether or not they are wanted. */
  readonly settled: number;
  /** Channels with a pending operation. They may or may not be subscribed. */
  readonly unsettled: number;
  /** Number of operations on channels that were started so far. */
  readonly begun: number;
  /** Number of connections that were lost so far. */
  readonly losses: number;
}

interface Deferred {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(fault: RedisSseError): void;
}

const log = createLog("hub");

/** The most channels in one SUBSCRIBE. With this size, 10,000 channels are subscribed quickly, and no command is very long. */
const MAX_BATCH = 512;

/** The pause before a command that failed on a live connection is retried. */
const RETRY_MS = 500;

/**
 * Keeps the subscriptions of the connection equal to the wanted channels. For each channel, it compares the wanted state
 * with the actual state, and runs one operation at a time. After each operation, it compares again. A reference count is not
 * enough: if SUBSCRIBE and UNSUBSCRIBE are pending at the same time, a wanted channel can end up without a subscription.
 *
 * An operation has no deadline, because it may still take effect after a timeout. The connection and the callers have their
 * own deadlines. A late answer is compared with the channels that are wanted at that time.
 */
export class SubscriptionReconciler {
  readonly #port: SubscriptionPort;
  readonly #handlers: ReconcilerHandlers;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  /** Entries to compare at the end of the event-loop turn, so that their operations are sent as one command. */
  readonly #dirty = new Set<Entry>();
  /** Wanted channels that were subscribed when the connection was lost, and are not subscribed again yet. */
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

  /** Number of channels that Redis has acknowledged. */
  get subscribedCount(): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.subscribed) count++;
    return count;
  }

  /** Whether Redis has acknowledged this channel. */
  isSubscribed(name: string): boolean {
    return this.#entries.get(name)?.subscribed ?? false;
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

  /**
   * Subscribes to a channel. Resolves when Redis has acknowledged it, without a promise if it has already. Rejects if Redis
   * refuses the channel, or if its last member has left.
   */
  want(name: string): Awaitable<void> {
    if (this.#closed) return Promise.reject(new RedisSseError("CLOSED", "this service is closed"));
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = { name, wanted: true, subscribed: false, operation: null, waiting: null };
      this.#entries.set(name, entry);
    }
    entry.wanted = true;
    if (entry.subscribed && entry.operation === null) return;
    entry.waiting ??= createDeferred();
    this.#touch(entry);
    return entry.waiting.promise;
  }

  unwant(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.wanted = false;
    this.#interrupted.delete(name);
    entry.waiting?.reject(new RedisSseError("ABORTED", "the channel has no member any more"));
    entry.waiting = null;
    this.#touch(entry);
  }

  /** The connection is ready. Starts an operation for each channel that differs from its wanted state. */
  connectionReady(): void {
    for (const entry of this.#entries.values()) this.#touch(entry);
  }

  /** The connection is lost, and all subscriptions with it. */
  connectionLost(): void {
    this.#losses++;
    for (const entry of this.#entries.values()) {
      if (entry.subscribed && entry.wanted) this.#interrupted.add(entry.name);
      entry.subscribed = false;
    }
  }

  /**
   * Notes a message of this channel. The first message can arrive before the promise of SUBSCRIBE resolves. The interruption
   * must be reported before this message is delivered.
   */
  heard(name: string): void {
    if (this.#interrupted.size === 0 || !this.#interrupted.delete(name)) return;
    // The message proves the subscription. If the connection is lost now, that is a second interruption.
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.subscribed = true;
    this.#handlers.onResubscribed([name]);
  }

  /** Rejects all waits, and stops. Returns the channels that may still be subscribed. */
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
      // Without a connection, nothing is queued, because connectionReady() compares every entry again.
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

  /** Runs one command for a batch. Never rejects. */
  async #run(operation: Operation, batch: readonly Entry[]): Promise<void> {
    this.#begun += batch.length;
    for (const entry of batch) entry.operation = operation;
    try {
      await this.#port[operation](batch.map(({ name }) => name));
      this.#acknowledged(operation, batch);
    } catch (error) {
      const fault = subscribeFault(error);
      // If a Redis ACL rule denies one channel, SUBSCRIBE fails for the whole batch.
      if (batch.length > 1 && isRefusal(fault) && !this.#closed) {
        for (const entry of batch) void this.#run(operation, [entry]);
        return;
      }
      this.#failed(operation, batch, fault);
      // After a lost connection, connectionReady() retries. On a live connection, a proxy may have answered instead of
      // Redis. It can answer at once, so the retry needs a pause.
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
      // After a failed UNSUBSCRIBE, the channel has no members. The subscription ends with the connection.
      if (operation === "unsubscribe") entry.subscribed = false;
      // After a connection error, connectionReady() retries, and the callers have their own deadlines.
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

/** Whether Redis refused the subscription. False if the connection failed. */
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
  // The callers handle the rejection. Without this handler, it would be unhandled if no caller waits.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
