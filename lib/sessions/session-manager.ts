import { endianness } from "node:os";

import type { Clock } from "../clock.js";
import { diagnosticChannel } from "../catalogue/diagnostics.js";
import { RedisSseError, sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { answerTo, COMPLETED_ID } from "../sse/http-answer.js";
import { assertChannel, parseStreamSelection } from "../events/channel-name.js";
import { BufferBudget } from "../backpressure/buffer-budget.js";
import type { Slices } from "../slices.js";
import type { HistoryPort } from "../replay/history-port.js";
import { DeadPeerDetector, type ReadTcpTable } from "../peers/dead-peer-detector.js";
import { isMessageFault } from "../events/outbound-message.js";
import type { GapReason } from "../events/gap.js";
import { drainSessions, readDrainOptions, type DrainOptions } from "./drain.js";
import { encodeFirst } from "./opening-frames.js";
import { answeredFault, ResolverRuns, shuttingDown, type ResolverOutcome } from "./resolver-runs.js";
import type { RuleName } from "../sync-callback.js";
import {
  closeEach,
  SessionRegistry,
  type RegistryLimits,
  type RegistryStatistics,
  type RevocationScope,
} from "./session-registry.js";
import type { SessionContext, SessionSettings } from "./session-context.js";
import { PubSubSession } from "./session.js";
import type { Sink, StreamRequest } from "./sink.js";
import type { IdTokens } from "../sse/id-token.js";
import type { Subscriptions } from "../subscriptions/subscriptions.js";
import { describeThrown } from "../thrown.js";
import { assertResumable } from "./resume-policy.js";
import { applyAccess, type AccessAnswer } from "./stream-access.js";
import { assertSettings, readExpiry, readKey } from "./stream-options.js";
import { shareTickers } from "./ticker.js";

type StreamSettings = Pick<SessionSettings, "heartbeatMs" | "retryMs" | "slowConsumer">;

export interface StreamsSettings extends StreamSettings {
  readonly keyPrefix: string;
  /** `subscribeTimeoutMs` covers the lease, SUBSCRIBE, and the reads that find the start position. */
  readonly limits: Omit<SessionSettings, keyof StreamSettings> &
    RegistryLimits & {
      readonly maxTotalBufferedBytes: number;
      readonly peerTimeoutMs: number;
      readonly resolverTimeoutMs: number;
    };
}

/** See `NewStreamCheck` in `rights/`. */
export interface RightsPort {
  resolverCalled(client: object): void;
  assertNotBlocked(key: string): void;
  takeCallTime(client: object, key: string | undefined, channels: readonly string[]): number | undefined;
}

export interface SessionManagerOptions {
  readonly settings: StreamsSettings;
  readonly clock: Clock;
  readonly slices: Slices;
  readonly log: ServiceLog;
  readonly history: HistoryPort;
  /** Signs the ids of streams whose clients may not resume from any place. `null` without the option `secret`. */
  readonly idTokens: IdTokens | null;
  readonly subscriptions: Subscriptions;
  /** Returns the cause of an error, if it is known: a subscription may time out because Redis is unavailable. */
  readonly explain: (fault: RedisSseError) => RedisSseError;
  readonly rights: RightsPort;
  /** Follows revocations from now on. Called for each stream. */
  readonly followRevocations: () => void;
  /** Reads the TCP tables of the kernel; `null` if the operating system has none. */
  readonly readTcpTable: ReadTcpTable | null;
}

const gapTold = diagnosticChannel("redis-sse:gap");

/** Opens and ends all streams of a service. Decides which streams may start. */
export class SessionManager {
  readonly #options: SessionManagerOptions;
  readonly #registry: SessionRegistry;
  readonly #context: SessionContext<PubSubSession>;
  readonly #budget: BufferBudget;
  readonly #peers: DeadPeerDetector<PubSubSession>;
  readonly #resolvers: ResolverRuns;
  readonly #gaps = new Map<GapReason, number>();
  readonly #ruleFailures = new Map<RuleName, number>();
  #draining = false;
  /** Aborted when the service closes. */
  readonly #closing = new AbortController();

  constructor(options: SessionManagerOptions) {
    const { clock, slices, settings, history, subscriptions, explain } = options;
    const { limits, keyPrefix, heartbeatMs, retryMs, slowConsumer } = settings;
    this.#options = options;
    this.#registry = new SessionRegistry(limits);
    this.#resolvers = new ResolverRuns(clock, limits.resolverTimeoutMs);
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
      createTransport: (owner, listener) => subscriptions.createTransport(owner, listener),
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
      tickerOf: shareTickers(clock, limits.maxStallMs),
      explain,
      onClosing: (session) => this.#registry.closing(session),
      onClosed: (session) => {
        this.#registry.remove(session);
        this.#peers.remove(session);
      },
    };
  }

  get refusing(): boolean {
    return this.#draining;
  }

  /** See `RedisSse.resolve()`. */
  async resolve<T>(
    request: Omit<StreamRequest, "key" | "revalidate">,
    sink: Sink,
    resolver: () => T | PromiseLike<T>,
  ): Promise<{ readonly value: T } | null> {
    let outcome: ResolverOutcome<T>;
    // Only the first call counts: a task stream resolves the task after the resolver of the application has decided.
    this.#options.rights.resolverCalled(sink);
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
  check(request?: StreamRequest, answer?: AccessAnswer): RedisSseError | null {
    if (request === undefined) return this.#draining ? shuttingDown() : this.#registry.fullFault;
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
    this.#peers.add(session, sink.connection);
    const started = session.start();
    // In this order, both channels are in one SUBSCRIBE.
    this.#options.followRevocations();
    await started;
    return session;
  }

  /** See `RedisSse.drain()`. */
  async drain(options?: DrainOptions): Promise<void> {
    const plan = readDrainOptions(options);
    this.#refuse();
    await drainSessions(this.#registry, plan, { ...this.#options, closing: this.#closing.signal });
  }

  /** Closes all streams in slices, without further delay. */
  async closeAll(): Promise<void> {
    this.#refuse();
    this.#closing.abort();
    const { clock, slices } = this.#options;
    await this.#registry.closeAll("shutdown", { clock, slices, spreadMs: 0 });
    this.#peers.stop();
  }

  /** Ends streams whose rights were decided until `decidedUntil` (`monotonicNow()`). Returns their number. */
  endRevoked(target: RevocationScope, decidedUntil: number): number {
    const { slices, subscriptions } = this.#options;
    // Without this check, each revocation of a channel would look at all streams.
    if (target.kind === "channel" && !subscriptions.mayHave(target.value)) return 0;
    const revoked = this.#registry.findRevoked(target, decidedUntil);
    if (revoked.length > 0) slices.add(closeEach(revoked, "revoked", slices));
    return revoked.length;
  }

  /** Refuses new streams from now on. */
  #refuse(): void {
    this.#draining = true;
    this.#resolvers.stop();
  }

  #warnOfCheck(error: unknown): void {
    const [head] = describeThrown(error).split("\n", 1);
    this.#options.log.fault("revalidate", "revalidate.check() of a mount failed: %s", head);
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

  /** The channels with an acknowledged subscription and at least one client, each once. */
  get heardChannels(): readonly string[] {
    const { heardChannels } = this.#options.subscriptions;
    return [...new Set([...heardChannels, ...this.#registry.acknowledgedChannels])];
  }

  #admit(given: StreamRequest, sink: Sink, answer: AccessAnswer): PubSubSession {
    const { request, names } = this.#check(given, answer);
    const key = readKey(request.key);
    const decidedAt = this.#options.rights.takeCallTime(sink, key, names);
    const session = new PubSubSession(this.#context, request, sink, names);
    session.decidedAt = decidedAt ?? request.ticket?.decidedAt ?? session.decidedAt;
    this.#registry.add(session, key);
    return session;
  }

  /** Returns the request with its rights, and its channels. Throws if it cannot have a stream. */
  #check(
    given: StreamRequest,
    answer: AccessAnswer,
  ): { readonly request: StreamRequest; readonly names: readonly string[] } {
    const { request, selection } = applyAccess(given, answer);
    assertSettings(request);
    const { rights, clock, idTokens, settings } = this.#options;
    const { keyPrefix, limits } = settings;
    assertResumable(request.resume, idTokens, limits.maxChannelsPerSession);
    const key = readKey(request.key);
    if (key !== undefined) rights.assertNotBlocked(key);
    if (request.lastEventId === COMPLETED_ID) throw new RedisSseError("COMPLETED", "this stream has ended");
    if (this.#draining) throw shuttingDown();
    const names = parseStreamSelection(selection, keyPrefix, limits.maxChannelsPerSession);
    if (readExpiry(request.expiresAt) <= clock.now()) {
      throw new RedisSseError(
        "UNAUTHORIZED",
        "The right to this stream has expired. Log in again, and open a new stream.",
      );
    }
    this.#registry.assertRoom(key, request.onLimit);
    return { request, names };
  }
}
