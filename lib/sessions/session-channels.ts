import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import type { Transport } from "../subscriptions/transport.js";

export interface ChannelSettings {
  readonly maxChannelsPerSession: number;
  /** How long a SUBSCRIBE may take, a leased connection included. */
  readonly subscribeTimeoutMs: number;
  /** How long each stage of a teardown may take, and the client to read what was written last. */
  readonly closeTimeoutMs: number;
}

/** What the service gives the channels of its sessions. */
export interface ChannelsContext {
  readonly clock: Clock;
  readonly settings: ChannelSettings;
}

/** The session, as its channels see it. */
export interface ChannelsOwner {
  /** Whether channels may be added and taken away: the session is subscribed. */
  readonly isOpen: boolean;
  /** Subscribes to channels and finds where the session begins in each. Events may come before it resolves. */
  subscribe(channels: readonly string[], signal: AbortSignal): Promise<void>;
  /** A channel is the session's no more. */
  left(channel: string): void;
  /** Fires when the session begins to close: every wait here ends. */
  closingSignal(): AbortSignal;
}

interface Addition {
  readonly done: Promise<void>;
  /** Ends the wait, because the channel was taken away again. */
  cancel(): void;
}

const log = createLog("session");

/** The channels of one session, and how they come and go while it is open. */
export class SessionChannels {
  readonly names: Set<string>;
  readonly #transport: Transport;
  readonly #context: ChannelsContext;
  readonly #owner: ChannelsOwner;
  /** Additions that Redis has not acknowledged yet: whoever adds the same channel shares the wait. */
  #adding: Map<string, Addition> | null = null;

  constructor(names: Set<string>, transport: Transport, context: ChannelsContext, owner: ChannelsOwner) {
    this.names = names;
    this.#transport = transport;
    this.#context = context;
    this.#owner = owner;
  }

  /** Those that Redis has acknowledged, once the session is subscribed. */
  get acknowledged(): readonly string[] {
    return [...this.names].filter((name) => !this.#adding?.has(name));
  }

  /** Subscribes to all channels that the session began with. */
  subscribe(): Promise<void> {
    return this.#subscribe([...this.names]);
  }

  async add(name: string): Promise<void> {
    if (!this.#owner.isOpen) throw closedError();
    if (this.names.has(name)) return this.#adding?.get(name)?.done;
    const { maxChannelsPerSession: max } = this.#context.settings;
    if (this.names.size >= max) {
      throw new RedisSseError("LIMIT_CHANNELS", `expected at most ${max} channels in a stream`);
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
      // Its events are dropped all the same, and the teardown ends whatever is left.
      log("[SSE] unsubscribe failed: %s", sanitize(error).message);
    }
  }

  #begin(name: string): Promise<void> {
    let cancel!: () => void;
    const cancelled = new Promise<never>((_resolve, reject) => {
      cancel = () => reject(new RedisSseError("ABORTED", "the channel was taken away again"));
    });
    const adding = (this.#adding ??= new Map());
    const isCurrent = (): boolean => adding.get(name) === addition;
    const addition: Addition = { done: this.#add(name, cancelled, isCurrent), cancel };
    adding.set(name, addition);
    return addition.done;
  }

  async #add(name: string, cancelled: Promise<never>, isCurrent: () => boolean): Promise<void> {
    try {
      await Promise.race([this.#subscribe([name]), cancelled]);
    } catch (error) {
      // After a cancellation there is nothing to undo: the channel may have been added anew since.
      if (isCurrent()) {
        this.names.delete(name);
        this.#owner.left(name);
        // A SUBSCRIBE that ran out of time may still take effect: it is undone behind it.
        this.#transport.unsubscribe([name]).catch(() => {});
      }
      throw this.#owner.isOpen ? sanitize(error) : closedError();
    } finally {
      if (isCurrent()) this.#adding?.delete(name);
    }
    if (!this.#owner.isOpen) throw closedError();
    log("[SSE] subscribed: %s", printable(name));
  }

  #subscribe(channels: readonly string[]): Promise<void> {
    const { clock, settings } = this.#context;
    const signal = this.#owner.closingSignal();
    const timeoutMs = settings.subscribeTimeoutMs;
    return withDeadline(this.#owner.subscribe(channels, signal), {
      clock,
      timeoutMs,
      what: "SUBSCRIBE",
      signal,
    });
  }
}

function closedError(): RedisSseError {
  return new RedisSseError("CLOSED", "expected an open stream, but this session is not subscribed");
}
