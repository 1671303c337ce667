import type { Clock } from "../clock.js";
import { sanitize, type RedisSseError } from "../errors.js";
import { readInboundEvent, type InboundEvent } from "../events/inbound-event.js";
import type { ServiceLog } from "../logger.js";
import type { HistoryPort } from "../replay/history-port.js";
import { LogVerifier, type WatchedLog } from "../replay/log-verifier.js";
import type { Slices } from "../slices.js";
import { DedicatedTransport, type LeasedConnection } from "./dedicated-transport.js";
import type { HubMember } from "./fan-out.js";
import {
  SubscriptionHub,
  type HubConnection,
  type HubHandlers,
  type HubStatistics,
} from "./subscription-hub.js";
import type { Transport, TransportHolder, TransportListener } from "./transport.js";

export interface SubscriptionsOptions {
  readonly settings: {
    readonly keyPrefix: string;
    readonly subscriptions: "shared" | "dedicated";
    readonly history: { readonly checkMs: number };
    readonly limits: { readonly maxEventBytes: number; readonly closeTimeoutMs: number };
  };
  readonly clock: Clock;
  readonly slices: Slices;
  readonly log: ServiceLog;
  readonly history: HistoryPort;
  /** Creates the connection of the hub. Called once, for the first subscription. */
  readonly connect: (handlers: HubHandlers) => HubConnection;
  /** Leases a connection for one session. */
  readonly lease: (holder: string, signal: AbortSignal) => Promise<LeasedConnection>;
}

/** How long a channel without clients stays subscribed. A page that is reloaded needs it again soon. */
const LINGER_MS = 500;

/** If an event of the history does not arrive within this time, it counts as missed. */
const GRACE_MS = 1_000;

/** All subscriptions of a service: over the hub, and over leased connections. Regularly compares their logs with Redis. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #hub: SubscriptionHub;
  readonly #dedicated = new Set<DedicatedTransport>();
  readonly #verifier: LogVerifier;
  #dropped = 0;

  constructor(options: SubscriptionsOptions) {
    const { settings, clock, slices, history, connect } = options;
    this.#options = options;
    this.#hub = new SubscriptionHub({
      connect,
      read: (channel, message) => this.#read(channel, message),
      now: () => history.now(),
      onRollback: (watched, to) => void this.#verifier.verify(watched, to),
      clock,
      slices,
      lingerMs: LINGER_MS,
      closeTimeoutMs: settings.limits.closeTimeoutMs,
    });
    this.#verifier = new LogVerifier({
      history,
      clock,
      periodMs: settings.history.checkMs,
      graceMs: GRACE_MS,
      logs: () => this.#watchedLogs(),
    });
  }

  /** Creates the transport of one session. */
  createTransport(owner: TransportHolder, listener: TransportListener): Transport {
    const { settings, lease, history } = this.#options;
    this.#verifier.start();
    if (settings.subscriptions === "shared") return this.#hub.transport(listener);
    const transport = new DedicatedTransport(
      {
        lease: (signal) => lease(owner.holder, signal),
        read: (channel, message) => this.#read(channel, message),
        now: () => history.now(),
        onRollback: (watched, to) => void this.#verifier.verify(watched, to),
        onReset: (each) => this.#dedicated.delete(each),
      },
      listener,
    );
    this.#dedicated.add(transport);
    return transport;
  }

  /**
   * Subscribes a part of the service to a channel. Calls `onMessage` with each message, and with `null` if messages may have
   * been missed. If the subscription fails or is denied later, calls `onFault`. Returns a function that ends the subscription.
   * The statistics count the channel only with `isCounted`.
   */
  subscribe(
    channel: string,
    onMessage: (text: string | null) => void,
    onFault: (fault: RedisSseError) => void,
    isCounted = true,
  ): () => void {
    const member: HubMember = {
      round: 0,
      deliver: ({ events }) => {
        for (const event of events) onMessage(event.data);
      },
      interrupted: () => onMessage(null),
      refused: (_, fault) => onFault(fault),
    };
    if (!isCounted) this.#hub.doNotCount(channel);
    // Messages that were published before the acknowledgement were missed.
    Promise.resolve(this.#hub.join(channel, member)).then(
      () => onMessage(null),
      (error: unknown) => onFault(sanitize(error)),
    );
    return () => this.#hub.leave(channel, member);
  }

  /** Whether a session may have this channel. Also true with `dedicated`, where only the sessions know their channels. */
  mayHave(channel: string): boolean {
    return this.#options.settings.subscriptions === "dedicated" || this.#hub.has(channel);
  }

  get statistics(): HubStatistics {
    return { ...this.#hub.statistics, dropped: this.#dropped };
  }

  /** The subscriptions of the hub, to compare with the report of the Redis server. */
  get account(): SubscriptionHub["account"] {
    return this.#hub.account;
  }

  /** The channels of the hub with an acknowledged subscription and at least one member. */
  get heardChannels(): readonly string[] {
    return this.#hub.heardChannels;
  }

  /** Ends the subscriptions of the hub. Never rejects. */
  close(): Promise<void> {
    this.#verifier.stop();
    return this.#hub.close();
  }

  /** Reads a message. Returns `null` if it is malformed, and counts it. */
  #read(channel: string, message: string): InboundEvent | null {
    const event = readInboundEvent(channel, message, this.#options.settings.limits.maxEventBytes);
    if (event !== null) return event;
    this.#dropped++;
    this.#options.log.debug("dropped a malformed message on %s", channel);
    return null;
  }

  *#watchedLogs(): Generator<WatchedLog> {
    const { keyPrefix } = this.#options.settings;
    // The internal channels that wake workers have no history.
    for (const watched of this.#hub.watchedLogs()) {
      if (!watched.channel.startsWith(keyPrefix)) yield watched;
    }
    for (const transport of this.#dedicated) yield* transport.watchedLogs();
  }
}
