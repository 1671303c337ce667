import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { diagnosticChannel } from "../diagnostics.js";
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
import type { WatchedLog } from "../replay/log-verifier.js";
import type { Transport, TransportListener } from "./transport.js";

/** The connection as the hub starts it. */
export interface HubConnection extends SubscriptionPort {
  detach(): void;
}

export interface HubHandlers {
  onMessage(channel: string, message: string): void;
  onReady(): void;
  onDown(): void;
}

export interface HubOptions {
  /** Makes the connection; called once, with the first join. */
  readonly connect: (handlers: HubHandlers) => HubConnection;
  /** Makes an event of a message: `null` drops it. */
  readonly read: (channel: string, message: string) => InboundEvent | null;
  /** As `HistoryPort.now()`. */
  readonly now: () => number;
  /** An event has come whose place was given before: is the log behind it now? */
  readonly onRollback?: (watched: WatchedLog, suspicion: Suspicion) => void;
  readonly clock: Clock;
  /** How long a channel without members stays subscribed, in case somebody comes back. */
  readonly lingerMs: number;
  /** How long the last UNSUBSCRIBE may take. */
  readonly closeTimeoutMs: number;
}

/** The shared subscriber connection and its channels. */
export interface HubStatistics {
  /** Whether the shared connection is there; false too as long as nobody has needed it. */
  readonly connected: boolean;
  /** Channels that somebody listens to over it. */
  readonly channels: number;
  /** Channels that the server has acknowledged; those that were left a moment ago among them. */
  readonly subscribed: number;
  /** Messages that were malformed or posed as a control event, those to dedicated streams included. */
  readonly dropped: number;
  /** Members that threw while an event was delivered to them. */
  readonly memberFaults: number;
}

interface Channel extends Audience {
  /** Members whose join is not acknowledged yet, each with the latest one. They learn of a refusal by it. */
  readonly joining: Map<HubMember, symbol>;
  cancelLinger: (() => void) | null;
  /** Of a channel that nobody listens to nothing is known: its messages are not read. */
  log: LogHead;
}

const log = createLog("hub");
const redisLost = diagnosticChannel("redis-sse:redis:lost");
const redisReady = diagnosticChannel("redis-sse:redis:ready");

/** All sessions of a process over one connection: who listens to what, and each event to all who do. */
export class SubscriptionHub {
  readonly #options: HubOptions;
  readonly #channels = new Map<string, Channel>();
  /** The same relation from the other side. */
  readonly #memberships = new Map<HubMember, Set<string>>();
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
    this.#fanOut = new FanOut((channel, message) => this.#read(channel, message));
  }

  /** How one session subscribes over this hub. */
  transport(listener: TransportListener): Transport {
    return new SharedTransport(this, listener);
  }

  /**
   * Adds a member to a channel. Events may reach it before the promise resolves, which happens when the
   * server has acknowledged; when that fails, the member has left again.
   */
  async join(name: string, member: HubMember): Promise<void> {
    if (this.#closed) throw new RedisSseError("CLOSED", "this service is closed");
    this.#connect();
    this.flush();
    const channel = this.#channelOf(name);
    channel.cancelLinger?.();
    channel.cancelLinger = null;
    this.#addMember(name, channel, member);
    const join = Symbol(name);
    channel.joining.set(member, join);
    try {
      await this.#reconciler.want(name);
      channel.log.established(this.#options.now());
    } catch (fault) {
      if (channel.joining.get(member) === join) this.#leave(name, member, 0);
      throw fault;
    } finally {
      if (channel.joining.get(member) === join) channel.joining.delete(member);
    }
  }

  /** Takes a member from a channel: it gets nothing more. False when it was not there. */
  leave(name: string, member: HubMember): boolean {
    return this.#leave(name, member, this.#options.lingerMs);
  }

  /** Passes on what has come so far, and waits for the end of the turn. */
  flush(): void {
    this.#fanOut.flush();
  }

  /** Takes a member from all its channels. */
  leaveAll(member: HubMember): void {
    for (const name of this.#memberships.get(member) ?? []) this.leave(name, member);
  }

  /** What is known of a channel's log. */
  log(name: string): LogHead {
    return this.#channels.get(name)?.log ?? new LogHead();
  }

  /** The logs of all channels that have members. */
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

  /** The channels that have members, in no order. */
  get channels(): readonly string[] {
    return [...this.#channels].filter(([, { members }]) => members.size > 0).map(([name]) => name);
  }

  /** Its subscriptions, to be held against the server's own account. */
  get account(): ReconcilerAccount {
    return this.#reconciler.account;
  }

  /** The channels that have a member whose join was acknowledged. */
  get heardChannels(): readonly string[] {
    return [...this.#channels]
      .filter(([, { members, joining }]) => members.size > joining.size)
      .map(([name]) => name);
  }

  get statistics(): Omit<HubStatistics, "dropped"> {
    return {
      connected: this.#connection?.isReady() ?? false,
      channels: this.channels.length,
      subscribed: this.#reconciler.subscribedCount,
      memberFaults: this.#fanOut.memberFaults,
    };
  }

  /** Ends all subscriptions; the connection itself is its owner's to end. Never rejects. */
  async close(): Promise<void> {
    this.flush();
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
      // A server forgets them with the connection. ioredis-mock does not: it has to be told.
      const told = withDeadline(connection.unsubscribe(held), { clock, timeoutMs, what: "UNSUBSCRIBE" });
      await told.catch((error: unknown) => log("unsubscribe at close: %s", sanitize(error).message));
    }
    connection.detach();
  }

  #connect(): void {
    this.#connection ??= this.#options.connect({
      onMessage: (channel, message) => this.#dispatch(channel, message),
      onReady: () => {
        log("connected: %d channels", this.#channels.size);
        if (redisReady.hasSubscribers) redisReady.publish({ channels: this.#channels.size });
        this.#reconciler.connectionReady();
      },
      onDown: () => {
        log("connection lost: %d channels", this.#channels.size);
        if (redisLost.hasSubscribers) redisLost.publish({ channels: this.#channels.size });
        this.flush();
        for (const channel of this.#channels.values()) channel.log.lost();
        this.#reconciler.connectionLost();
      },
    });
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
    const channel = this.#channels.get(name);
    if (channel === undefined) return false;
    this.flush();
    if (!this.#removeMember(name, channel, member)) return false;
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

  /** What a message says; `null`: nothing that is passed on. */
  #read(channel: Channel, message: string): InboundEvent | null {
    const { name } = channel;
    const event = this.#options.read(name, message);
    if (event === null) return null;
    const suspicion = channel.log.heard(event, this.#options.now(), !isEnvelope(message));
    if (suspicion !== null) this.#options.onRollback?.(this.#watched(name, channel.log), suspicion);
    return event;
  }

  #rolledBack(name: string, to: Position | null): void {
    // No plain message was missed.
    this.#interrupted([name], (log) => {
      log.rolledBack(to);
      return false;
    });
  }

  /** Messages of these channels may be missing; what comes from now on is heard. */
  #resubscribed(names: readonly string[]): void {
    log("subscribed again: %d channels", names.length);
    this.#interrupted(names, (log) => {
      log.lost();
      return log.unlogged;
    });
  }

  /** `reset` answers whether plain messages may be missing. */
  #interrupted(names: readonly string[], reset: (log: LogHead) => boolean): void {
    this.flush();
    const interrupted = new Map<HubMember, Interruption[]>();
    for (const name of names) {
      const channel = this.#channels.get(name);
      if (channel === undefined) continue;
      const interruption = { channel: name, unlogged: reset(channel.log) };
      channel.log.established(this.#options.now());
      for (const member of channel.members) {
        // One that is only joining has missed nothing.
        if (channel.joining.has(member)) continue;
        const interruptions = interrupted.get(member);
        if (interruptions === undefined) interrupted.set(member, [interruption]);
        else interruptions.push(interruption);
      }
    }
    for (const [member, channels] of interrupted) this.#fanOut.isolate(() => member.interrupted(channels));
  }

  #refused(name: string, fault: RedisSseError): void {
    this.flush();
    const channel = this.#channels.get(name);
    for (const member of channel?.members ?? []) {
      if (channel!.joining.has(member)) continue;
      this.#leave(name, member, 0);
      this.#fanOut.isolate(() => member.refused(name, fault));
    }
  }
}

/** How one session reaches Redis over the hub: it owns nothing but its memberships. */
class SharedTransport implements Transport {
  readonly #hub: SubscriptionHub;
  readonly #listener: TransportListener;
  #reset = false;

  constructor(hub: SubscriptionHub, listener: TransportListener) {
    this.#hub = hub;
    this.#listener = listener;
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    if (this.#reset) throw new RedisSseError("ABORTED", "the session is closing");
    await Promise.all(channels.map((channel) => this.#hub.join(channel, this.#listener)));
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    const left = channels.filter((channel) => this.#hub.leave(channel, this.#listener));
    if (left.length === 0) throw new RedisSseError("INTERNAL", "nothing was subscribed");
  }

  async close(): Promise<void> {
    // The connection belongs to all sessions.
  }

  flush(): void {
    this.#hub.flush();
  }

  log(channel: string): ChannelLog {
    return this.#hub.log(channel);
  }

  reset(): void {
    this.#reset = true;
    this.#hub.leaveAll(this.#listener);
  }
}
