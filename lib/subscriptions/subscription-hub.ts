import { whenAll, type Awaitable } from "../awaitable.js";
import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { diagnosticChannel } from "../catalogue/diagnostics.js";
import { createLog } from "../log.js";
import {
  SubscriptionReconciler,
  type ReconcilerAccount,
  type ReconcilerHandlers,
  type SubscriptionPort,
} from "./subscription-reconciler.js";
import type { Position } from "../sse/event-id.js";
import { isEnvelope } from "../events/inbound-event.js";
import { FanOut, type Audience, type HubMember } from "./fan-out.js";
import { type ChannelLog, type Interruption, LogHead, type Suspicion } from "../replay/log-head.js";
import type { InboundEvent } from "../events/inbound-event.js";
import type { Slices } from "../slices.js";
import type { WatchedLog } from "../replay/log-verifier.js";
import type { Transport, TransportListener } from "./transport.js";

/** The parts of the shared connection that the hub uses. */
export interface HubConnection extends SubscriptionPort {
  detach(): void;
}

export interface HubHandlers {
  onMessage(channel: string, message: string): void;
  onReady(): void;
  onDown(): void;
}

export interface HubOptions {
  /** Creates the connection. Called once, by the first `join()`. */
  readonly connect: (handlers: HubHandlers) => HubConnection;
  /** Converts a message to an event. Returns `null` to drop the message. */
  readonly read: (channel: string, message: string) => InboundEvent | null;
  /** See `HistoryPort.now()`. */
  readonly now: () => number;
  /** Called when an event arrives with a position that was used before. The history may have lost its newest events. */
  readonly onRollback?: (watched: WatchedLog, suspicion: Suspicion) => void;
  readonly clock: Clock;
  readonly slices: Slices;
  /** How long a channel without members stays subscribed. A client may reconnect soon. */
  readonly lingerMs: number;
  /** How long the last UNSUBSCRIBE may take. */
  readonly closeTimeoutMs: number;
}

/** The shared subscriber connection and its channels. */
export interface HubStatistics {
  /** Whether the shared connection is ready. False also before the first stream needs it. */
  readonly connected: boolean;
  /** Channels with at least one member. The internal channels of `revoke()` do not count. */
  readonly channels: number;
  /**
   * Channels that Redis has acknowledged, including channels that lost their last member a moment ago. The internal channels of
   * `revoke()` do not count.
   */
  readonly subscribed: number;
  /** Dropped messages, also of dedicated streams. They were malformed, or used the name of a control event. */
  readonly dropped: number;
  /** Number of errors that members threw during deliveries. */
  readonly memberFaults: number;
}

interface Channel extends Audience {
  /** Members whose join is not acknowledged yet, with the latest join. If Redis refuses, the join rejects. */
  readonly joining: Map<HubMember, symbol>;
  cancelLinger: (() => void) | null;
  /** What the messages show about the history. Without members, messages are not read, and nothing is known. */
  log: LogHead;
}

const NO_CHANNELS: ReadonlySet<string> = new Set();

const log = createLog("hub");
const redisLost = diagnosticChannel("redis-sse:redis:lost");
const redisReady = diagnosticChannel("redis-sse:redis:ready");

/** Shares one connection among all sessions of a process. Delivers each event to all members of its channel. */
export class SubscriptionHub {
  readonly #options: HubOptions;
  readonly #channels = new Map<string, Channel>();
  /** The channels of each member. */
  readonly #memberships = new Map<HubMember, Set<string>>();
  /** Internal channels that the statistics omit. */
  readonly #uncounted = new Set<string>();
  readonly #reconciler: SubscriptionReconciler;
  readonly #fanOut: FanOut<Channel>;
  #connection: HubConnection | null = null;
  #closed = false;

  constructor(options: HubOptions) {
    this.#options = options;
    const port: SubscriptionPort = {
      isReady: () => this.#connection?.isReady() ?? false,
      subscribe: (channels) => this.#connection!.subscribe(channels),
      unsubscribe: (channels) => this.#connection!.unsubscribe(channels),
    };
    const handlers: ReconcilerHandlers = {
      onResubscribed: (channels) => this.#resubscribed(channels),
      onRefused: (channel, fault) => this.#refused(channel, fault),
    };
    this.#reconciler = new SubscriptionReconciler(port, handlers, options.clock);
    this.#fanOut = new FanOut(
      (channel, message) => this.#read(channel, message),
      (member) => this.#memberships.get(member) ?? NO_CHANNELS,
      options.slices,
    );
  }

  /** Creates the transport of one session. */
  transport(listener: TransportListener): Transport {
    return new SharedTransport(this, listener);
  }

  /**
   * Adds a member to a channel. Resolves when Redis has acknowledged the subscription, without a promise if it has already.
   * Events may arrive before that. If it rejects, the member is not in the channel.
   */
  join(name: string, member: HubMember): Awaitable<void> {
    if (this.#closed) return Promise.reject(new RedisSseError("CLOSED", "this service is closed"));
    try {
      this.#connect();
    } catch (error) {
      return Promise.reject(sanitize(error));
    }
    this.flush();
    const channel = this.#channelOf(name);
    channel.cancelLinger?.();
    channel.cancelLinger = null;
    this.#addMember(name, channel, member);
    const subscribed = this.#reconciler.want(name);
    if (subscribed !== undefined) return this.#acknowledge(name, member, channel, subscribed);
    channel.joining.delete(member);
    channel.log.established(this.#options.now());
  }

  async #acknowledge(
    name: string,
    member: HubMember,
    channel: Channel,
    subscribed: Promise<void>,
  ): Promise<void> {
    const join = Symbol(name);
    channel.joining.set(member, join);
    try {
      await subscribed;
      channel.log.established(this.#options.now());
    } catch (fault) {
      if (channel.joining.get(member) === join) this.#leave(name, member, 0);
      throw fault;
    } finally {
      if (channel.joining.get(member) === join) channel.joining.delete(member);
    }
  }

  /** Omits an internal channel from the statistics. */
  doNotCount(name: string): void {
    this.#uncounted.add(name);
  }

  /** Whether a channel has a member. */
  has(name: string): boolean {
    return (this.#channels.get(name)?.members.size ?? 0) > 0;
  }

  /** Removes a member from a channel. It gets no more events. Returns false if it was not a member. */
  leave(name: string, member: HubMember): boolean {
    return this.#leave(name, member, this.#options.lingerMs);
  }

  /** Delivers the messages that wait for the end of the event-loop turn. */
  flush(): void {
    this.#fanOut.flush();
  }

  /** Delivers to one member, at once, all that has arrived for it: it is about to do something that must come after. */
  catchUp(member: HubMember): void {
    this.#fanOut.catchUp(member);
  }

  /** Removes a member from all its channels. */
  leaveAll(member: HubMember): void {
    for (const name of this.#memberships.get(member) ?? []) this.leave(name, member);
  }

  /** What is known about the history of a channel. */
  log(name: string): LogHead {
    return this.#channels.get(name)?.log ?? new LogHead();
  }

  /** The histories of all channels that have members. */
  *watchedLogs(): Generator<WatchedLog> {
    for (const [channel, { log, members }] of this.#channels) {
      if (members.size > 0) yield this.#watched(channel, log);
    }
  }

  #watched(channel: string, log: LogHead): WatchedLog {
    return {
      channel,
      log,
      missed: () => this.#resubscribed([channel]),
      rolledBack: (to) => this.#rolledBack(channel, to),
    };
  }

  /** The counted channels that have members, in no order. */
  get channels(): readonly string[] {
    const isCounted = (name: string): boolean => this.has(name) && !this.#uncounted.has(name);
    return [...this.#channels.keys()].filter(isCounted);
  }

  /** The subscriptions of the hub, to compare with the report of the Redis server. */
  get account(): ReconcilerAccount {
    return this.#reconciler.account;
  }

  /** The counted channels that have a member whose join was acknowledged. */
  get heardChannels(): readonly string[] {
    return [...this.#channels]
      .filter(([name, { members, joining }]) => members.size > joining.size && !this.#uncounted.has(name))
      .map(([name]) => name);
  }

  get statistics(): Omit<HubStatistics, "dropped"> {
    return {
      connected: this.#connection?.isReady() ?? false,
      channels: this.channels.length,
      subscribed:
        this.#reconciler.subscribedCount - this.#countInternal((name) => this.#reconciler.isSubscribed(name)),
      memberFaults: this.#fanOut.memberFaults,
    };
  }

  /** Ends all subscriptions. The owner of the connection must close it. Never rejects. */
  async close(): Promise<void> {
    this.#fanOut.finish();
    this.#closed = true;
    for (const { cancelLinger } of this.#channels.values()) cancelLinger?.();
    this.#channels.clear();
    this.#memberships.clear();
    const held = this.#reconciler.close();
    const connection = this.#connection;
    this.#connection = null;
    if (connection === null) return;
    if (held.length > 0 && connection.isReady()) {
      const { clock, closeTimeoutMs: timeoutMs } = this.#options;
      // A Redis server ends subscriptions with the connection. ioredis-mock needs an UNSUBSCRIBE.
      const told = withDeadline(connection.unsubscribe(held), { clock, timeoutMs, what: "UNSUBSCRIBE" });
      await told.catch((error: unknown) => log("unsubscribe at close failed: %s", sanitize(error).message));
    }
    connection.detach();
  }

  #connect(): void {
    this.#connection ??= this.#options.connect({
      onMessage: (channel, message) => this.#dispatch(channel, message),
      onReady: () => {
        log("connected: %d channels", this.#size);
        if (redisReady.hasSubscribers) redisReady.publish({ channels: this.#size });
        this.#reconciler.connectionReady();
      },
      onDown: () => {
        log("connection lost: %d channels", this.#size);
        if (redisLost.hasSubscribers) redisLost.publish({ channels: this.#size });
        this.flush();
        for (const channel of this.#channels.values()) channel.log.lost();
        this.#reconciler.connectionLost();
      },
    });
  }

  /** Number of counted channels, with or without members. */
  get #size(): number {
    return this.#channels.size - this.#countInternal((name) => this.#channels.has(name));
  }

  #countInternal(isIncluded: (name: string) => boolean): number {
    return [...this.#uncounted].filter(isIncluded).length;
  }

  #channelOf(name: string): Channel {
    let channel = this.#channels.get(name);
    if (channel === undefined) {
      channel = {
        name,
        members: new Set(),
        several: null,
        part: null,
        joining: new Map(),
        cancelLinger: null,
        log: new LogHead(),
      };
      this.#channels.set(name, channel);
    }
    return channel;
  }

  #addMember(name: string, channel: Channel, member: HubMember): void {
    if (!channel.members.has(member)) this.#fanOut.joined(channel, member);
    channel.members.add(member);
    const memberships = this.#memberships.get(member);
    if (memberships === undefined) {
      this.#memberships.set(member, new Set([name]));
      return;
    }
    memberships.add(name);
    if (memberships.size === 1) return;
    for (const each of memberships) {
      const other = this.#channels.get(each);
      if (other !== undefined) (other.several ??= new Set()).add(member);
    }
  }

  #removeMember(name: string, channel: Channel, member: HubMember): boolean {
    if (!channel.members.delete(member)) return false;
    this.#fanOut.left(channel, member);
    channel.several?.delete(member);
    channel.joining.delete(member);
    const memberships = this.#memberships.get(member);
    memberships?.delete(name);
    if (memberships?.size === 0) this.#memberships.delete(member);
    if (memberships?.size !== 1) return true;
    for (const only of memberships) this.#channels.get(only)?.several?.delete(member);
    return true;
  }

  #leave(name: string, member: HubMember, lingerMs: number): boolean {
    this.#fanOut.catchUp(member);
    const channel = this.#channels.get(name);
    if (channel === undefined || !this.#removeMember(name, channel, member)) return false;
    if (channel.members.size > 0) return true;
    channel.log = new LogHead();
    const drop = (): void => {
      this.#channels.delete(name);
      this.#reconciler.unwant(name);
    };
    if (lingerMs === 0) drop();
    else channel.cancelLinger = this.#options.clock.schedule(drop, lingerMs);
    return true;
  }

  #dispatch(name: string, message: string): void {
    this.#reconciler.heard(name);
    const channel = this.#channels.get(name);
    if (channel !== undefined && channel.members.size > 0) this.#fanOut.add(channel, message);
  }

  /** Reads a message. Returns `null` if it is dropped. */
  #read(channel: Channel, message: string): InboundEvent | null {
    const { name } = channel;
    const event = this.#options.read(name, message);
    if (event === null) return null;
    const suspicion = channel.log.heard(event, this.#options.now(), !isEnvelope(message));
    if (suspicion !== null) this.#options.onRollback?.(this.#watched(name, channel.log), suspicion);
    return event;
  }

  #rolledBack(name: string, to: Position | null): void {
    // The connection was not lost, so no plain message was missed.
    this.#interrupted([name], (log) => {
      log.rolledBack(to);
      return false;
    });
  }

  /** The channels are subscribed again. Messages that were published before may be missing. */
  #resubscribed(names: readonly string[]): void {
    log("subscribed again: %d channels", names.length);
    this.#interrupted(names, (log) => {
      log.lost();
      return log.unlogged;
    });
  }

  /** `reset` returns whether plain messages may be missing. */
  #interrupted(names: readonly string[], reset: (log: LogHead) => boolean): void {
    this.flush();
    const interrupted = new Map<HubMember, Interruption[]>();
    for (const name of names) {
      const channel = this.#channels.get(name);
      if (channel === undefined) continue;
      const interruption = { channel: name, unlogged: reset(channel.log) };
      channel.log.established(this.#options.now());
      for (const member of channel.members) {
        // A member that is still joining has missed nothing.
        if (channel.joining.has(member)) continue;
        const interruptions = interrupted.get(member);
        if (interruptions === undefined) interrupted.set(member, [interruption]);
        else interruptions.push(interruption);
      }
    }
    this.#fanOut.interrupt(interrupted);
  }

  #refused(name: string, fault: RedisSseError): void {
    this.flush();
    const channel = this.#channels.get(name);
    for (const member of channel?.members ?? []) {
      if (channel!.joining.has(member)) continue;
      // A rule may remove the channel while the member gets the events that arrived before.
      if (this.#leave(name, member, 0)) this.#fanOut.isolate(() => member.refused(name, fault));
    }
  }
}

/** The transport of a session that uses the hub. It owns only its memberships. */
class SharedTransport implements Transport {
  readonly #hub: SubscriptionHub;
  readonly #listener: TransportListener;
  #reset = false;

  constructor(hub: SubscriptionHub, listener: TransportListener) {
    this.#hub = hub;
    this.#listener = listener;
  }

  subscribe(channels: readonly string[]): Awaitable<void> {
    if (this.#reset) return Promise.reject(new RedisSseError("ABORTED", "the session is closing"));
    const joined = channels.map((channel) => this.#hub.join(channel, this.#listener));
    return whenAll(joined, () => {});
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    const left = channels.filter((channel) => this.#hub.leave(channel, this.#listener));
    if (left.length === 0) throw new RedisSseError("INTERNAL", "no channel was subscribed");
  }

  async close(): Promise<void> {
    // All sessions share the connection.
  }

  flush(): void {
    this.#hub.catchUp(this.#listener);
  }

  log(channel: string): ChannelLog {
    return this.#hub.log(channel);
  }

  reset(): void {
    this.#reset = true;
    this.#hub.leaveAll(this.#listener);
  }
}
