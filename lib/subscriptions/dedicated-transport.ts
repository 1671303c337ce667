import { RedisSseError, subscribeFault } from "../errors.js";
import { createLog } from "../log.js";
import { debugTextOf } from "../thrown.js";
import { isEnvelope } from "../events/inbound-event.js";
import { EventBatch } from "../events/event-batch.js";
import type { InboundEvent } from "../events/inbound-event.js";
import type { WatchedLog } from "../replay/log-verifier.js";
import { LogHead, type Suspicion, type ChannelLog } from "../replay/log-head.js";
import type { Transport, TransportListener } from "./transport.js";
import { MessageBatcher, type MessageRun } from "./fan-out.js";

/** The parts of a leased connection that this transport uses. */
export interface LeasedConnection {
  readonly client: {
    subscribe(...channels: string[]): Promise<unknown>;
    unsubscribe(...channels: string[]): Promise<unknown>;
    quit(): Promise<unknown>;
    on(event: "message", listener: (channel: string, message: string) => void): unknown;
    on(event: "end", listener: () => void): unknown;
    off(event: "message", listener: (channel: string, message: string) => void): unknown;
    off(event: "end", listener: () => void): unknown;
  };
  release(): void;
}

export interface DedicatedTransportOptions {
  readonly lease: (signal: AbortSignal) => Promise<LeasedConnection>;
  readonly read: (channel: string, message: string) => InboundEvent | null;
  /** See `HistoryPort.now()`. */
  readonly now: () => number;
  /** See `HubOptions.onRollback`. */
  readonly onRollback?: (watched: WatchedLog, suspicion: Suspicion) => void;
  readonly onReset?: (transport: DedicatedTransport) => void;
}

interface Subscription {
  /** The latest request for the channel. An earlier request that fails must not remove the channel. */
  readonly request: symbol;
  readonly log: LogHead;
}

const log = createLog("session");

/** The transport of a session that leases its own connection (`subscriptions: "dedicated"`). */
export class DedicatedTransport implements Transport {
  readonly #options: DedicatedTransportOptions;
  readonly #listener: TransportListener;
  /** The requested channels that were not removed. Messages for a removed channel may still arrive. */
  readonly #channels = new Map<string, Subscription>();
  #leasing: Promise<LeasedConnection> | null = null;
  #lease: LeasedConnection | null = null;
  readonly #turn = new MessageBatcher<string>((runs) => this.#deliver(runs));
  #reset = false;

  constructor(options: DedicatedTransportOptions, listener: TransportListener) {
    this.#options = options;
    this.#listener = listener;
  }

  async subscribe(channels: readonly string[], closing: () => AbortSignal): Promise<void> {
    const { client } = await (this.#leasing ??= this.#acquire(closing()));
    const request = Symbol("subscribe");
    for (const channel of channels) this.#channels.set(channel, { request, log: new LogHead() });
    try {
      await client.subscribe(...channels);
    } catch (error) {
      for (const channel of channels) {
        if (this.#channels.get(channel)?.request === request) this.#channels.delete(channel);
      }
      throw subscribeFault(error);
    }
    for (const channel of channels) {
      const subscription = this.#channels.get(channel);
      if (subscription?.request === request) subscription.log.established(this.#options.now());
    }
  }

  *watchedLogs(): Generator<WatchedLog> {
    for (const [channel, { log }] of this.#channels) {
      yield this.#watched(channel, log);
    }
  }

  #watched(channel: string, log: LogHead): WatchedLog {
    return {
      channel,
      log,
      missed: () => this.#missed(channel, log, () => log.lost()),
      rolledBack: (to) => this.#missed(channel, log, () => log.rolledBack(to)),
    };
  }

  #missed(channel: string, log: LogHead, reset: () => void): void {
    this.flush();
    reset();
    log.established(this.#options.now());
    // The connection was not lost, so no plain message was missed.
    this.#listener.interrupted([{ channel, unlogged: false }]);
  }

  flush(): void {
    this.#turn.flush();
  }

  log(channel: string): ChannelLog {
    return this.#channels.get(channel)?.log ?? new LogHead();
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    this.flush();
    for (const channel of channels) this.#channels.delete(channel);
    if (this.#lease === null) throw new RedisSseError("INTERNAL", "no channel was subscribed");
    // If a SUBSCRIBE is still pending, this command comes after it, and undoes it.
    await this.#lease.client.unsubscribe(...channels);
  }

  async close(): Promise<void> {
    // From now on, the end of the connection is expected.
    this.#lease?.client.off("end", this.#onEnd);
    await this.#lease?.client.quit();
  }

  reset(): void {
    this.#reset = true;
    this.#turn.clear();
    this.#options.onReset?.(this);
    const lease = this.#lease;
    this.#lease = null;
    if (lease === null) return;
    lease.client.off("message", this.#onMessage);
    lease.client.off("end", this.#onEnd);
    lease.release();
  }

  async #acquire(signal: AbortSignal): Promise<LeasedConnection> {
    const lease = await this.#options.lease(signal);
    if (this.#reset) {
      lease.release();
      throw new RedisSseError("ABORTED", "the session is closing");
    }
    this.#lease = lease;
    lease.client.on("message", this.#onMessage);
    lease.client.on("end", this.#onEnd);
    return lease;
  }

  readonly #onMessage = (channel: string, message: string): void => {
    if (this.#channels.has(channel)) this.#turn.add(channel, message);
  };

  /** The event loop calls this method, so an error here would end the process. Such an error concerns only this stream. */
  #deliver(runs: readonly MessageRun<string>[]): void {
    const isMany = runs.length > 1;
    try {
      if (isMany) this.#listener.cork?.();
      for (const run of runs) this.#deliverRun(run);
    } catch (error) {
      log("a session threw an error during delivery: %s", debugTextOf(error));
      this.#listener.failed?.();
    } finally {
      if (isMany) this.#listener.uncork?.();
    }
  }

  #deliverRun({ channel, messages }: MessageRun<string>): void {
    const events: InboundEvent[] = [];
    for (const message of messages) {
      const event = this.#read(channel, message);
      if (event !== null) events.push(event);
    }
    if (events.length > 0) this.#listener.deliver(new EventBatch(channel, events, false));
  }

  #read(channel: string, message: string): InboundEvent | null {
    const subscription = this.#channels.get(channel);
    const event = subscription && this.#options.read(channel, message);
    if (!event) return null;
    const suspicion = subscription.log.heard(event, this.#options.now(), !isEnvelope(message));
    if (suspicion !== null) this.#options.onRollback?.(this.#watched(channel, subscription.log), suspicion);
    return event;
  }

  readonly #onEnd = (): void => {
    this.flush();
    this.#listener.lost(new RedisSseError("REDIS_UNAVAILABLE", "the connection to Redis was lost"));
  };
}
