import type { Awaitable } from "../awaitable.js";
import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import type { Transport } from "../subscriptions/transport.js";

export interface ChannelSettings {
  readonly maxChannelsPerSession: number;
  /**
   * How long a SUBSCRIBE may take, including the wait for a leased connection. Also how long the reads of the start positions
   * may take.
   */
  readonly subscribeTimeoutMs: number;
  /** How long each stage of a teardown may take. Also how long the client may take to read the last data. */
  readonly closeTimeoutMs: number;
}

/** The parts of the service that the channels of a session use. */
export interface ChannelsContext {
  readonly clock: Clock;
  readonly settings: ChannelSettings;
}

/** The parts of the session that its channels use. */
export interface ChannelsOwner {
  /** Whether channels can be added and removed. True while the session is subscribed. */
  readonly isOpen: boolean;
  /**
   * Subscribes to channels. Then, if `isCurrent()` is true, finds the start position in each. Returns `undefined` if nothing must
   * be awaited. Events may arrive before the promise resolves.
   */
  subscribe(channels: readonly string[], isCurrent: () => boolean): Awaitable<void>;
  /** Called when a channel was removed from the session. */
  left(channel: string): void;
  /** Fires when the session starts to close. Then all waits end. */
  closingSignal(): AbortSignal;
}

/** A channel that is being added. */
interface Addition {
  /** Settles with the addition. Calls that add the same channel share it. */
  done: Promise<void>;
  /** Rejects when the channel is removed. */
  readonly cancelled: Promise<never>;
  cancel(): void;
}

const log = createLog("session");

/** The channels of one session. Adds and removes channels while the session is open. */
export class SessionChannels {
  readonly names: Set<string>;
  readonly #transport: Transport;
  readonly #context: ChannelsContext;
  readonly #owner: ChannelsOwner;
  /** Additions that Redis has not acknowledged yet. Calls that add the same channel share one wait. */
  #adding: Map<string, Addition> | null = null;

  constructor(names: Set<string>, transport: Transport, context: ChannelsContext, owner: ChannelsOwner) {
    this.names = names;
    this.#transport = transport;
    this.#context = context;
    this.#owner = owner;
  }

  /** The channels that Redis has acknowledged. Valid after the session is subscribed. */
  get acknowledged(): readonly string[] {
    return [...this.names].filter((name) => !this.#adding?.has(name));
  }

  async add(name: string): Promise<void> {
    if (!this.#owner.isOpen) throw closedError();
    if (this.names.has(name)) return this.#adding?.get(name)?.done;
    const { maxChannelsPerSession: max } = this.#context.settings;
    if (this.names.size >= max) {
      throw new RedisSseError(
        "LIMIT_CHANNELS",
        `a stream can have at most ${max} channels (limits.maxChannelsPerSession)`,
      );
    }
    this.names.add(name);
    return this.#begin(name);
  }

  async remove(name: string): Promise<void> {
    if (!this.#owner.isOpen || !this.names.delete(name)) return;
    this.#owner.left(name);
    this.#adding?.get(name)?.cancel();
    this.#adding?.delete(name);
    const { clock, settings } = this.#context;
    const signal = this.#owner.closingSignal();
    try {
      const timeoutMs = settings.closeTimeoutMs;
      await withDeadline(this.#transport.unsubscribe([name]), {
        clock,
        timeoutMs,
        what: "UNSUBSCRIBE",
        signal,
      });
      log("[SSE] unsubscribed: %s", printable(name));
    } catch (error) {
      // The session drops later events of this channel, and the teardown ends the subscription.
      log("[SSE] unsubscribe failed: %s", sanitize(error).message);
    }
  }

  #begin(name: string): Promise<void> {
    const addition = createAddition();
    (this.#adding ??= new Map()).set(name, addition);
    return (addition.done = this.#add(name, addition));
  }

  async #add(name: string, addition: Addition): Promise<void> {
    // After `remove()`, this call must do nothing more, because the channel may have been added again.
    const isCurrent = (): boolean => this.#adding?.get(name) === addition;
    try {
      await Promise.race([this.#owner.subscribe([name], isCurrent), addition.cancelled]);
    } catch (error) {
      if (isCurrent()) {
        this.names.delete(name);
        this.#owner.left(name);
        // A SUBSCRIBE that timed out may still take effect. This UNSUBSCRIBE comes after it.
        this.#transport.unsubscribe([name]).catch(() => {});
      }
      throw this.#owner.isOpen ? sanitize(error) : closedError();
    } finally {
      if (isCurrent()) this.#adding?.delete(name);
    }
    if (!this.#owner.isOpen) throw closedError();
    log("[SSE] subscribed: %s", printable(name));
  }
}

function createAddition(): Addition {
  let cancel!: () => void;
  const cancelled = new Promise<never>((_resolve, reject) => {
    cancel = () =>
      reject(new RedisSseError("ABORTED", "the channel was removed before Redis acknowledged it"));
  });
  return { done: cancelled, cancelled, cancel };
}

function closedError(): RedisSseError {
  return new RedisSseError("CLOSED", "the session is not open, so its channels cannot change");
}
