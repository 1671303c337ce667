import { endianness } from "node:os";

import { monotonicNow, type Clock } from "../clock.js";
import { diagnosticChannel } from "../catalogue/diagnostics.js";
import { RedisSseError, sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { answerTo, COMPLETED_ID } from "../sse/http-answer.js";
import { assertChannel, parseStreamSelection } from "../events/channel-name.js";
import { DedicatedTransport, type LeasedConnection } from "../subscriptions/dedicated-transport.js";
import { BufferBudget } from "../backpressure/buffer-budget.js";
import type { Slices } from "../slices.js";
import type { HubMember } from "../subscriptions/fan-out.js";
import type { HistoryPort } from "../replay/history-port.js";
import { LogVerifier, type WatchedLog } from "../replay/log-verifier.js";
import { DeadPeerDetector, type ReadTcpTable } from "../peers/dead-peer-detector.js";
import { isMessageFault } from "../events/outbound-message.js";
import { readInboundEvent, type InboundEvent } from "../events/inbound-event.js";
import type { GapReason } from "../events/gap.js";
import { drainSessions, type DrainPlan } from "./drain.js";
import { encodeFirst } from "./opening-frames.js";
import { ResolverRuns, type ResolverOutcome } from "./resolver-runs.js";
import type { RuleName } from "../sync-callback.js";
import type { ChannelSettings } from "./session-channels.js";
import {
  closeEach,
  SessionRegistry,
  type RegistryLimits,
  type RegistryStatistics,
} from "./session-registry.js";
import type { SessionLimits } from "./session-state.js";
import type { SessionContext } from "./session-context.js";
import { PubSubSession } from "./session.js";
import type { Sink, StreamRequest } from "./sink.js";
import type { IdTokens } from "../sse/id-token.js";
import type { SlowConsumerPolicy } from "../backpressure/slow-consumer.js";
import {
  SubscriptionHub,
  type HubConnection,
  type HubHandlers,
  type HubStatistics,
} from "../subscriptions/subscription-hub.js";
import { describeThrown, isRedisSseError } from "../thrown.js";
import { assertResumable } from "./resume-policy.js";
import { applyAccess, type AccessAnswer } from "./stream-access.js";
import { assertSettings, readExpiry, readKey } from "./stream-options.js";
import { Ticker } from "./ticker.js";
import type { CreateTransport } from "../subscriptions/transport.js";

export interface StreamsSettings {
  readonly keyPrefix: string;
  readonly subscriptions: "shared" | "dedicated";
  readonly heartbeatMs: number | false;
  readonly retryMs: number;
  readonly slowConsumer: SlowConsumerPolicy;
  readonly history: { readonly checkMs: number };
  /** `subscribeTimeoutMs` covers the lease, SUBSCRIBE, and the reads that find the start position. */
  readonly limits: SessionLimits &
    ChannelSettings &
    RegistryLimits & {
      readonly maxEventBytes: number;
      readonly maxReplayEvents: number;
      readonly maxTotalBufferedBytes: number;
      readonly peerTimeoutMs: number;
      readonly resolverTimeoutMs: number;
    };
}

/** The streams that a revocation ends. */
export interface RevokedStreams {
  readonly kind: "key" | "session" | "channel";
  readonly value: string;
}

/** What is known about revoked rights. */
export interface RightsPort {
  /** Follows revocations from now on. Called for each stream. */
  follow(): void;
  /** Whether new streams of this key are refused. */
  isBlocked(key: string): boolean;
  /** Number of revocations that this process has carried out. */
  readonly applied: number;
  /** Whether this process has revoked these streams after it had carried out `applied` revocations. */
  isRevokedSince(applied: number, streams: RevokedStreams): boolean;
}

/** The moment before a resolver decides. */
interface Asked {
  /** As `monotonicNow()`. */
  readonly at: number;
  /** See `RightsPort.applied`. */
  readonly applied: number;
}

export interface SessionManagerOptions {
  readonly settings: StreamsSettings;
  readonly clock: Clock;
  readonly slices: Slices;
  readonly log: ServiceLog;
  readonly history: HistoryPort;
  /** Signs the ids of streams whose clients may not resume from any place. `null` without the option `secret`. */
  readonly idTokens: IdTokens | null;
  /** Creates the connection that all streams share. Called once, for the first stream. */
  readonly connect: (handlers: HubHandlers) => HubConnection;
  /** Leases a connection for one stream. */
  readonly lease: (holder: string, signal: AbortSignal) => Promise<LeasedConnection>;
  /** Returns the cause of an error, if it is known: a subscription may time out because Redis is unavailable. */
  readonly explain: (fault: RedisSseError) => RedisSseError;
  readonly rights: RightsPort;
  /** Reads the TCP tables of the kernel; `null` if the operating system has none. */
  readonly readTcpTable: ReadTcpTable | null;
}

/** A subscription of a part of the service. */
export interface InternalSubscription {
  readonly onMessage: (text: string | null) => void;
  readonly onFault: (fault: RedisSseError) => void;
  /**
   * Whether the statistics count the channel.
   *
   * @defaultValue true
   */
  readonly isCounted?: boolean;
}

const gapTold = diagnosticChannel("redis-sse:gap");

/** How long a channel without clients stays subscribed. A page that is reloaded needs it again soon. */
const LINGER_MS = 500;

/** If an event of the history does not arrive within this time, it counts as missed. */
const GRACE_MS = 1_000;

/** Opens and ends all streams of a service. Decides which streams may start, and which connection they use. */
export class SessionManager {
  readonly #options: SessionManagerOptions;
  readonly #hub: SubscriptionHub;
  readonly #registry: SessionRegistry;
  readonly #context: SessionContext<PubSubSession>;
  readonly #tickers = new Map<number, Ticker>();
  #dropped = 0;
  readonly #watch: LogVerifier;
  readonly #budget: BufferBudget;
  readonly #peers: DeadPeerDetector<PubSubSession>;
  readonly #resolvers: ResolverRuns;
  readonly #dedicated = new Set<DedicatedTransport>();
  /** When the resolver of a client was asked. Kept until its stream opens. */
  readonly #asked = new WeakMap<Sink, Asked>();
  readonly #gaps = new Map<GapReason, number>();
  readonly #ruleFailures = new Map<RuleName, number>();
  #draining = false;
  /** Aborted when the service closes. */
  readonly #closing = new AbortController();

  constructor(options: SessionManagerOptions) {
    const { clock, slices, settings, history, connect, explain } = options;
    const { limits, keyPrefix, heartbeatMs, retryMs, slowConsumer } = settings;
    this.#options = options;
    this.#registry = new SessionRegistry(limits);
    this.#resolvers = new ResolverRuns(clock, limits.resolverTimeoutMs);
    this.#hub = new SubscriptionHub({
      connect,
      read: (channel, message) => this.#read(channel, message),
      now: () => history.now(),
      onRollback: (watched, to) => void this.#watch.verify(watched, to),
      clock,
      slices,
      lingerMs: LINGER_MS,
      closeTimeoutMs: limits.closeTimeoutMs,
    });
    this.#watch = new LogVerifier({
      history,
      clock,
      periodMs: settings.history.checkMs,
      graceMs: GRACE_MS,
      logs: () => this.#watchedLogs(),
    });
    this.#budget = new BufferBudget(limits.maxTotalBufferedBytes);
    this.#peers = new DeadPeerDetector({
      clock,
      timeoutMs: limits.peerTimeoutMs,
      read: options.readTcpTable,
      littleEndian: endianness() === "LE",
      onLost: (session) => void session.close("peer-lost"),
    });
    this.#context = {
      settings: { ...limits, heartbeatMs, retryMs, slowConsumer },
      clock,
      slices,
      budget: this.#budget,
      createTransport: this.#transports(),
      history,
      idTokens: options.idTokens,
      onGap: (reason, channels) => {
        this.#gaps.set(reason, (this.#gaps.get(reason) ?? 0) + channels.length);
        if (gapTold.hasSubscribers) gapTold.publish({ reason, channels });
      },
      onRuleFailure: (rule) => this.#ruleFailures.set(rule, (this.#ruleFailures.get(rule) ?? 0) + 1),
      assertChannel: (name) => assertChannel(name, keyPrefix),
      revalidation: {
        clock,
        timeoutMs: limits.resolverTimeoutMs,
        onFailure: (error) => this.#warnOfCheck(error),
      },
      tickerOf: (heartbeat) => this.#tickerOf(heartbeat),
      explain,
      onClosing: (session) => this.#registry.closing(session),
      onClosed: (session) => {
        this.#registry.remove(session);
        this.#peers.remove(session);
      },
    };
  }

  /** Refuses new streams from now on. */
  refuse(): void {
    this.#draining = true;
    this.#resolvers.stop();
  }

  get refusing(): boolean {
    return this.#draining;
  }

  /** Why every new stream is refused now; `null` if it is not. */
  get refusal(): RedisSseError | null {
    return this.#draining ? shuttingDown() : this.#registry.fullFault;
  }

  /** See `RedisSse.resolve()`. */
  async resolve<T>(
    request: Omit<StreamRequest, "key" | "revalidate">,
    sink: Sink,
    resolver: () => T | PromiseLike<T>,
  ): Promise<{ readonly value: T } | null> {
    let outcome: ResolverOutcome<T>;
    const { clock, rights } = this.#options;
    // The first question counts: a task stream resolves the task after the resolver of the application has decided.
    if (!this.#asked.has(sink)) this.#asked.set(sink, { at: monotonicNow(clock), applied: rights.applied });
    try {
      const running = this.#resolvers.run(resolver, sink);
      outcome = running instanceof Promise ? await running : running;
    } catch (error) {
      outcome = { fault: answeredFault(error) };
    }
    const { fault } = outcome;
    if (fault === undefined) return outcome;
    // A client that left does not count as refused.
    if (fault.code !== "ABORTED") this.#registry.countRefusal(fault.code);
    const { onUnavailable, onLimit, retryMs = this.#options.settings.retryMs } = request;
    if (!sink.closed) sink.answer(answerTo(fault, { onUnavailable, onLimit, retryMs }));
    return null;
  }

  /** See `RedisSse.check()`. */
  check(request: StreamRequest, answer: AccessAnswer): RedisSseError | null {
    try {
      this.#check(request, answer);
      encodeFirst(request.first, this.#options.settings.limits.maxEventBytes);
      return null;
    } catch (error) {
      return sanitize(error);
    }
  }

  /** See `RedisSse.open()`. */
  async open(request: StreamRequest, sink: Sink, answer: AccessAnswer): Promise<PubSubSession> {
    let session: PubSubSession;
    try {
      session = this.#admit(request, sink, answer);
    } catch (error) {
      const fault = sanitize(error);
      this.#registry.countRefusal(fault.code);
      if (isMessageFault(fault)) throw fault;
      const { retryMs: byDefault } = this.#options.settings;
      const retryMs = fault.code === "CONFIG" ? byDefault : (request.retryMs ?? byDefault);
      const { onUnavailable, onLimit } = request;
      if (!sink.closed) sink.answer(answerTo(fault, { onUnavailable, onLimit, retryMs }));
      throw fault;
    }
    this.#watch.start();
    this.#peers.add(session, sink.connection);
    const started = session.start();
    // In this order, both channels are in one SUBSCRIBE.
    this.#options.rights.follow();
    await started;
    return session;
  }

  /** See `RedisSse.drain()`. */
  drain(plan: DrainPlan): Promise<void> {
    this.refuse();
    return drainSessions(this.#registry, plan, { ...this.#options, closing: this.#closing.signal });
  }

  /** Closes all streams in slices, without further delay. */
  closeAll(): Promise<void> {
    this.refuse();
    this.#closing.abort();
    const { clock, slices } = this.#options;
    return this.#registry.closeAll("shutdown", { clock, slices, spreadMs: 0 });
  }

  /** Ends streams whose rights were decided until `decidedUntil` (`monotonicNow()`). Returns their number. */
  revoke({ kind, value }: RevokedStreams, decidedUntil: number): number {
    const { slices } = this.#options;
    const revoked = this.#sessionsWith(kind, value).filter(
      ({ closeReason, decidedAt }) => closeReason === null && decidedAt <= decidedUntil,
    );
    if (revoked.length > 0) slices.add(closeEach(revoked, "revoked", slices));
    return revoked.length;
  }

  #sessionsWith(kind: RevokedStreams["kind"], value: string): readonly PubSubSession[] {
    if (kind === "key") return this.#registry.withKey(value);
    if (kind === "session") return this.#registry.withId(value);
    // In shared mode, a look at all streams is needed only if one of them has the channel.
    const isShared = this.#options.settings.subscriptions === "shared";
    return isShared && !this.#hub.has(value) ? [] : this.#registry.withChannel(value);
  }

  /** Ends all subscriptions. Never rejects. */
  close(): Promise<void> {
    this.#watch.stop();
    this.#peers.stop();
    return this.#hub.close();
  }

  /**
   * Subscribes a part of the service to a channel. Calls `onMessage` with each message, and with `null` if messages may have
   * been missed. If the subscription fails or is denied later, calls `onFault`. Returns a function that ends the subscription.
   */
  subscribe(channel: string, { onMessage, onFault, isCounted = true }: InternalSubscription): () => void {
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

  #warnOfCheck(error: unknown): void {
    const [head] = describeThrown(error).split("\n", 1);
    this.#options.log.fault("revalidate", "revalidate.check() of a mount failed: %s", head);
  }

  get hubStatistics(): HubStatistics {
    return { ...this.#hub.statistics, dropped: this.#dropped };
  }

  get statistics(): RegistryStatistics {
    return this.#registry.statistics;
  }

  /** The buffers of all streams together. */
  get buffers(): { readonly bytes: number; readonly exceeded: number; readonly dropped: number } {
    const { bytes, exceeded, dropped } = this.#budget;
    return { bytes, exceeded, dropped };
  }

  /** How often rules of streams have failed, by rule. */
  get ruleFailures(): Readonly<Partial<Record<RuleName, number>>> {
    return Object.fromEntries(this.#ruleFailures);
  }

  /** Gaps that clients got, by reason. Each channel of each client counts. */
  get gaps(): Readonly<Partial<Record<GapReason, number>>> {
    return Object.fromEntries(this.#gaps);
  }

  /** The channels of all streams, each once. */
  get channels(): readonly string[] {
    return this.#registry.channels;
  }

  /** The subscriptions of the hub, to compare with the report of the Redis server. */
  get account(): SubscriptionHub["account"] {
    return this.#hub.account;
  }

  /** The channels with an acknowledged subscription and at least one client, each once. */
  get heardChannels(): readonly string[] {
    return [...new Set([...this.#hub.heardChannels, ...this.#registry.acknowledgedChannels])];
  }

  #admit(given: StreamRequest, sink: Sink, answer: AccessAnswer): PubSubSession {
    const { request, names } = this.#check(given, answer);
    const asked = this.#asked.get(sink);
    this.#asked.delete(sink);
    if (asked !== undefined) this.#assertNotRevokedSince(asked, readKey(request.key), names);
    const session = new PubSubSession(this.#context, request, sink, names);
    session.decidedAt = asked?.at ?? request.lease?.decidedAt ?? session.decidedAt;
    this.#registry.add(session, readKey(request.key));
    return session;
  }

  /** Throws if a right was revoked while the resolver decided. The client reconnects, and the resolver decides again. */
  #assertNotRevokedSince({ applied }: Asked, key: string | undefined, channels: readonly string[]): void {
    const { rights } = this.#options;
    const isRevoked =
      (key !== undefined && rights.isRevokedSince(applied, { kind: "key", value: key })) ||
      channels.some((value) => rights.isRevokedSince(applied, { kind: "channel", value }));
    if (isRevoked) throw new RedisSseError("CLOSED", "The right to this stream was revoked while it opened.");
  }

  /** Returns the request with its rights, and its channels. Throws if it cannot have a stream. */
  #check(
    given: StreamRequest,
    answer: AccessAnswer,
  ): { readonly request: StreamRequest; readonly names: readonly string[] } {
    const { request, selection } = applyAccess(given, answer);
    assertSettings(request);
    const { keyPrefix, limits } = this.#options.settings;
    assertResumable(request.resume, this.#options.idTokens, limits.maxChannelsPerSession);
    const key = readKey(request.key);
    if (key !== undefined && this.#options.rights.isBlocked(key)) {
      throw new RedisSseError("REVOKED", "The right to this stream was revoked.");
    }
    if (request.lastEventId === COMPLETED_ID) throw new RedisSseError("COMPLETED", "this stream has ended");
    if (this.#draining) throw shuttingDown();
    const names = parseStreamSelection(selection, keyPrefix, limits.maxChannelsPerSession);
    if (readExpiry(request.expiresAt) <= this.#options.clock.now()) {
      throw new RedisSseError(
        "UNAUTHORIZED",
        "The right to this stream has expired. Log in again, and open a new stream.",
      );
    }
    this.#registry.assertRoom(key, request.onLimit);
    return { request, names };
  }

  /** Reads a message. Returns `null` if it is malformed, and counts it. */
  #read(channel: string, message: string): InboundEvent | null {
    const event = readInboundEvent(channel, message, this.#options.settings.limits.maxEventBytes);
    if (event !== null) return event;
    this.#dropped++;
    this.#options.log.debug("dropped a malformed message on %s", channel);
    return null;
  }

  #transports(): CreateTransport {
    const { settings, lease, history } = this.#options;
    if (settings.subscriptions === "shared") return (_, listener) => this.#hub.transport(listener);
    return (owner, listener) => {
      const transport = new DedicatedTransport(
        {
          lease: (signal) => lease(owner.holder, signal),
          read: (channel, message) => this.#read(channel, message),
          now: () => history.now(),
          onRollback: (watched, to) => void this.#watch.verify(watched, to),
          onReset: (each) => this.#dedicated.delete(each),
        },
        listener,
      );
      this.#dedicated.add(transport);
      return transport;
    };
  }

  *#watchedLogs(): Generator<WatchedLog> {
    const { keyPrefix } = this.#options.settings;
    // The internal channels that wake workers have no history.
    for (const watched of this.#hub.watchedLogs()) {
      if (!watched.channel.startsWith(keyPrefix)) yield watched;
    }
    for (const transport of this.#dedicated) yield* transport.watchedLogs();
  }

  /** Sessions that need the same precision share one ticker. */
  #tickerOf(heartbeatMs: number): Ticker {
    const { clock, settings } = this.#options;
    const finest = Math.min(heartbeatMs, settings.limits.maxStallMs) / 4;
    const periodMs = Math.max(10, Math.min(1_000, finest));
    let ticker = this.#tickers.get(periodMs);
    if (ticker === undefined) {
      ticker = new Ticker(clock, periodMs);
      this.#tickers.set(periodMs, ticker);
    }
    return ticker;
  }
}

const shuttingDown = (): RedisSseError => new RedisSseError("CLOSED", "this server is shutting down");

/**
 * Returns an error of a resolver that is the answer to the client. A resolver that asks Redis fails while Redis is unavailable.
 * After the 500 of an error handler, a browser would not reconnect. So the client gets a retryable error. An invalid ticket is
 * no mistake of the application either. Throws all other errors.
 */
function answeredFault(error: unknown): RedisSseError {
  if (isRedisSseError(error) && (error.retryable || error.code === "TICKET_INVALID")) return error;
  throw error;
}
