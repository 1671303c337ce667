import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";

import { when, type Awaitable } from "../awaitable.js";
import { monotonicNow } from "../clock.js";
import type { CloseReason } from "../catalogue/close-reasons.js";
import { diagnosticChannel } from "../catalogue/diagnostics.js";
import { withDeadline } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import { answerTo, type FaultAnswerOptions } from "../sse/http-answer.js";
import { Delivery } from "./delivery.js";
import { EventBatch } from "../events/event-batch.js";
import { endResponse, stagesOf, runTeardown } from "./teardown.js";
import { DEFAULT_HEARTBEAT_MS, HEARTBEAT } from "../sse/frame.js";
import { encodeFirst, encodeOpening, NO_FIRST_EVENTS, type FirstEvents } from "./opening-frames.js";
import { NO_CHANNEL } from "../events/channel-name.js";
import { encodeMessage, type OutboundMessage } from "../events/outbound-message.js";
import { hasLostPeer } from "../peers/dead-peer-detector.js";
import { SessionChannels } from "./session-channels.js";
import type { SessionContext, SessionSettings, SessionStatistics } from "./session-context.js";
import { SessionCursor, type TokenSource } from "../replay/session-cursor.js";
import { joinTokens } from "../sse/event-id.js";
import { Replay, type Beginning, type StartRequest } from "../replay/replay.js";
import {
  initialSnapshot,
  transition,
  type SessionEffect,
  type SessionEvent,
  type SessionLimits,
  type SessionSnapshot,
  type SessionState,
} from "./session-state.js";
import type { Sink, StreamRequest } from "./sink.js";
import { createAdmission } from "./resume-policy.js";
import { Revalidation } from "./revalidation.js";
import type { StreamTicket } from "./stream-ticket.js";
import { readExpiry } from "./stream-options.js";
import { StreamOutput } from "./stream-output.js";
import type { Transport } from "../subscriptions/transport.js";
import type { ChannelLog } from "../replay/log-head.js";

const log = createLog("session");
const opened = diagnosticChannel("redis-sse:session:open");
const closed = diagnosticChannel("redis-sse:session:close");

/**
 * The stream of one client.
 *
 * Its state moves from `created` to `subscribed`, `closing` and `closed`. The session subscribes, writes events, and
 * releases everything at the end, even if some steps fail.
 *
 * `transition()` decides each change of the state, and this class runs the effects. These rules prevent races:
 *
 * - The state changes first, and the effects follow.
 * - Closing ends every wait.
 * - After each wait, the code checks the state again.
 * - Each resource is released once.
 *
 * The parts of a session call its internal methods. Closures for each session would use as much memory as the state that
 * they read. The type declarations omit these methods. Applications must not call them.
 */
export class PubSubSession {
  /** A random UUID. The client gets it with `connected`. */
  readonly id: string = randomUUID();
  readonly #channels: SessionChannels;
  readonly #context: SessionContext<PubSubSession>;
  readonly #key: string | undefined;
  readonly #heartbeatMs: number | false;
  readonly #retryMs: number;
  readonly #onUnavailable: StreamRequest["onUnavailable"];
  /** What the client asked for. Used once, for the start position. */
  #start: StartRequest | null;
  /** When the right to the stream ends, as `monotonicNow()`. */
  readonly #expiresAt: number;
  readonly #revalidation: Revalidation<PubSubSession> | null;
  readonly #ticket: StreamTicket | null;
  readonly #limits: SessionLimits;
  readonly #output: StreamOutput;
  readonly #delivery: Delivery;
  readonly #transport: Transport;
  readonly #cursor: SessionCursor;
  readonly #history: Replay;
  /** Set while a wait must end if the session closes. */
  #closing: AbortController | null = null;
  /** Created by the first read of `closed`. */
  #closed: Promise<void> | null = null;
  #onClosed: (() => void) | null = null;
  /** Set while the client must still get the id of a new position, with an event or alone. */
  #telling: NodeJS.Immediate | null = null;
  /**
   * When the resolver was called, or the session was created, as `monotonicNow()`. A revocation after that ends the stream.
   * @internal
   */
  decidedAt: number;
  readonly #openedAt: number;
  readonly #begunAt: number;
  /** The approximate time of the last write. The error is at most one tick. */
  #activeAt: number;
  /** The time of the last tick at which the client had its current id. */
  #toldAt: number;
  /** When the positions in channels whose history does not exist yet were last renewed. */
  #renewedAt: number;
  #snapshot: SessionSnapshot = initialSnapshot;
  #fault: RedisSseError | null = null;
  #evicted = false;
  #beginning: Beginning = NOTHING_TO_TELL;
  /** Encoded before the session uses any resource, so that an invalid event is refused without any effect. */
  #first: FirstEvents;
  /** Set if the connection was lost before the subscription was complete. Then the subscription has failed. */
  #lostEarly: RedisSseError | null = null;

  /** Created by `RedisSse.open()`. Throws if an event of `first` is invalid. @hidden */
  constructor(
    context: SessionContext<PubSubSession>,
    request: StreamRequest,
    sink: Sink,
    channels: readonly string[],
  ) {
    this.#first = encodeFirst(request.first, context.settings.maxEventBytes);
    this.#context = context;
    const { key, heartbeatMs, retryMs } = request;
    this.#key = key === undefined || key === null ? undefined : String(key);
    this.#heartbeatMs = heartbeatMs ?? context.settings.heartbeatMs;
    this.#retryMs = retryMs ?? context.settings.retryMs;
    this.#onUnavailable = request.onUnavailable;
    this.#start = request;
    this.#openedAt = context.clock.now();
    this.#begunAt = monotonicNow(context.clock);
    this.decidedAt = this.#begunAt;
    this.#activeAt = this.#begunAt;
    this.#toldAt = this.#begunAt;
    this.#renewedAt = this.#begunAt;
    this.#limits = limitsOf(context.settings);
    this.#expiresAt = this.#begunAt + remainingMs(request.expiresAt, this.#openedAt);
    this.#ticket = request.ticket ?? null;
    const { revalidate } = request;
    this.#revalidation = revalidate
      ? new Revalidation(revalidate, context.revalidation, this.#begunAt)
      : null;
    this.#output = new StreamOutput(sink, context.clock, this);
    const admission = createAdmission(request.resume, this.#key, context.idTokens);
    this.#cursor = new SessionCursor(tokenSourceOf(this.#ticket, admission));
    this.#history = new Replay(context, this, this.#cursor, admission);
    const names = new Set(channels);
    this.#delivery = new Delivery({
      owner: this,
      context,
      request,
      channels: names,
      history: this.#history,
      cursor: this.#cursor,
      output: this.#output,
    });
    this.#history.writeTo(this.#delivery);
    this.#transport = context.createTransport(this, this.#delivery);
    this.#channels = new SessionChannels(names, this.#transport, context, this);
  }

  /** The state of the session: created, subscribed, closing or closed. */
  get state(): SessionState {
    return this.#snapshot.state;
  }

  /** Why the session ends or has ended; `null` before that. */
  get closeReason(): CloseReason | null {
    return "reason" in this.#snapshot ? this.#snapshot.reason : null;
  }

  /** Resolves when the session is closed, for any reason. */
  get closed(): Promise<void> {
    if (this.#closed === null) {
      const isClosed = this.#snapshot.state === "closed";
      this.#closed = isClosed ? Promise.resolve() : new Promise((resolve) => (this.#onClosed = resolve));
    }
    return this.#closed;
  }

  /** The channels of the stream, whether or not Redis has acknowledged them. */
  get channels(): ReadonlySet<string> {
    return this.#channels.names;
  }

  /** The channels whose events the stream gets. Empty before the session is subscribed. */
  get acknowledgedChannels(): readonly string[] {
    return this.isOpen ? this.#channels.acknowledged : [];
  }

  /** Counters of what the session has sent and dropped. */
  get statistics(): SessionStatistics {
    return {
      openedAt: this.#openedAt,
      messagesSent: this.#delivery.sent,
      bytesSent: this.#output.bytesSent,
      messagesDropped: this.#delivery.dropped,
      bufferedBytes: this.#delivery.waitingBytes,
    };
  }

  /**
   * The purpose of its leased connection, as text.
   * @internal
   */
  get holder(): string {
    return `session ${this.id} user=${this.#who}`;
  }

  /**
   * Subscribes and starts the stream. `RedisSse.open()` calls it once.
   *
   * If the subscription fails, `start()` releases the connection, answers the client, and rejects. If the client leaves
   * early, it resolves, and `state` shows that the session is not open.
   */
  async start(): Promise<void> {
    if (this.#snapshot.state !== "created") return;
    if (!this.#output.attach()) return this.end("write-error");
    if (log.enabled) {
      const channels = Array.from(this.#channels.names, printable).join(", ");
      log("[SSE] create PubSub connection: user=%s, channel=%s", this.#who, channels);
    }
    if (this.#output.closed) this.end("client-gone");
    if (this.#snapshot.state !== "created") return;
    this.#context.tickerOf(this.#quietMs).add(this);
    try {
      if (this.#ticket !== null) {
        await this.#take(this.#ticket);
        if (this.#output.closed) this.end("client-gone");
      }
      if (this.#snapshot.state !== "created") return;
      const subscribing = this.subscribe([...this.#channels.names]);
      if (subscribing !== undefined) {
        await subscribing;
        if (this.#output.closed) this.end("client-gone");
      }
      // The connection may be lost directly after the acknowledgement.
      if (this.#lostEarly !== null) throw this.#lostEarly;
    } catch (error) {
      // If the session is closing, the teardown undoes the subscription.
      if (this.#snapshot.state !== "created") return;
      this.#fault = this.#context.explain(sanitize(error));
      // This is not a failure: the client has received the whole stream.
      if (this.#fault.code === "COMPLETED") return this.end("completed", this.#fault);
      log("[SSE] subscribe failed: %s", this.#fault.message);
      this.dispatch({ type: "subscribe-failed" });
      throw this.#fault;
    }
    if (this.#snapshot.state !== "created") return;
    this.dispatch({ type: "subscribe-acknowledged", behind: this.#history.behind });
    this.ended();
  }

  /** A client without a right to the stream is refused before anything is subscribed. */
  #take(ticket: StreamTicket): Awaitable<void> {
    return this.#inTime("the ticket", ticket.take({ key: this.#key, channels: this.channels }));
  }

  /**
   * Subscribes to channels, and then finds the start position in each of them. See `ChannelsOwner`.
   * @internal
   */
  subscribe(channels: readonly string[], isCurrent = always): Awaitable<void> {
    this.#history.expect(channels);
    const subscribed = this.#transport.subscribe(channels, () => this.closingSignal());
    return when(this.#inTime("SUBSCRIBE", subscribed), () =>
      // Redis can answer thousands of sessions in one event-loop turn. The wait is not a wait for Redis, so it has no deadline.
      when(this.#context.slices.turn(), () => {
        if (isCurrent()) return this.#inTime("the history", this.#begin(channels));
      }),
    );
  }

  #inTime(what: string, work: Awaitable<void>): Awaitable<void> {
    if (work === undefined) return;
    const { clock, settings } = this.#context;
    const signal = this.closingSignal();
    return withDeadline(work, { clock, timeoutMs: settings.subscribeTimeoutMs, what, signal });
  }

  #begin(channels: readonly string[]): Awaitable<void> {
    const { state } = this.#snapshot;
    if (state === "subscribed") return this.#history.join(channels);
    if (state !== "created") return;
    const start = this.#start!;
    this.#start = null;
    return when(this.#history.begin(channels, start), (found) => void (this.#beginning = found));
  }

  /**
   * Subscribes this stream to one more channel. Resolves when Redis has acknowledged the subscription.
   *
   * If it rejects, the channels do not change. It rejects with `INVALID_CHANNEL`, `FORBIDDEN`, `LIMIT_CHANNELS`, `CLOSED`,
   * `ABORTED` or a Redis error. `ABORTED` means that the channel was removed during the call.
   */
  async addChannel(name: string): Promise<void> {
    this.#context.assertChannel(name);
    this.#transport.flush();
    await this.#channels.add(name);
    // Events that arrived in this event-loop turn are written before the id with the new position.
    this.#transport.flush();
    this.ended();
    // If the client leaves before the first event, it needs its position in the new channel.
    this.#telling ??= setImmediate(() => this.#tell());
  }

  /** Sends the id of the client in a separate block, unless an event of this event-loop turn carried it. */
  #tell(): void {
    this.#telling = null;
    this.#transport.flush();
    if (!this.#cursor.isTold && this.isWritable) this.#delivery.write(this.#cursor.tell());
  }

  /** Removes a channel from this stream. After the call, no event of the channel is written. */
  removeChannel(name: string): Promise<void> {
    this.#transport.flush();
    const removed = this.#channels.remove(name);
    this.ended();
    return removed;
  }

  /**
   * Sends one event to this client only.
   *
   * The event keeps its order among the other events, and is not stored in a history. Does nothing if the session is
   * closing. Throws `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`.
   */
  send(message: OutboundMessage): void {
    const event = { channel: NO_CHANNEL, ...encodeMessage(message, this.#context.settings.maxEventBytes) };
    this.#transport.flush();
    this.#delivery.deliver(new EventBatch(NO_CHANNEL, [event], false));
  }

  /**
   * Ends the stream and releases everything.
   *
   * Resolves when this is done. Each stage has a deadline. Every call returns the same promise, and only the reason of the
   * first call counts. If you pass `fault`, the client gets its code and message as an `error` event.
   */
  close(reason: CloseReason = "app", fault: RedisSseError | null = null): Promise<void> {
    // Events that arrived before this call are written before the stream ends.
    if (this.closeReason === null) this.#transport.flush();
    this.end(reason, fault);
    return this.closed;
  }

  /**
   * Ends the stream to make room for a newer one of the same key.
   * @internal
   */
  evict(): void {
    this.#evicted = true;
    const text = "A newer stream of this key replaced this one, because limits.maxSessionsPerKey is reached.";
    const fault = this.#output.started ? null : new RedisSseError("LIMIT_SESSIONS_PER_KEY", text);
    void this.close("limit", fault);
  }

  /**
   * Checks the deadlines for a stall, the lifetime and the heartbeat. The ticker of the service calls it.
   * @internal
   */
  tick(now: number): void {
    if (this.#output.takeActivity()) this.#activeAt = now;
    if (now - this.#renewedAt >= RENEWAL_MS) {
      this.#renewedAt = now;
      this.#history.renewPlaces();
    }
    if (this.#cursor.isTold) this.#toldAt = now;
    this.#history.renewToken();
    this.dispatch({ type: "tick", ageMs: now - this.#begunAt, stalledMs: now - this.#delivery.stalledAt });
    if (now >= this.#expiresAt) this.end("authorization-expired");
    if (this.isOpen) this.#revalidation?.tick(now, this, () => this.end("revoked"));
    if (!this.isWritable) return;
    // Retry failed reads of the history.
    this.#history.run();
    // While earlier data waits to be sent, a heartbeat would only fill the buffer. If a client gets only events without a
    // position, it still needs its current id.
    if (now - Math.min(this.#activeAt, this.#toldAt) < this.#quietMs || !this.#output.isClear) return;
    if (this.#heartbeatMs === false && this.#cursor.isTold) return;
    this.#delivery.write(this.#cursor.isTold ? HEARTBEAT : this.#cursor.tell());
  }

  /**
   * Drops buffered events or ends the stream, because the buffers of all streams together exceed their limit. The budget of
   * the service calls it.
   * @internal
   */
  relieve(): void {
    if (!this.#delivery.relieve()) this.end("slow-consumer");
  }

  /** @internal */
  lost(fault: RedisSseError): void {
    if (this.#snapshot.state === "created") this.#lostEarly = fault;
    else this.end("redis-lost", fault);
  }

  /** @internal */
  waiting(bytes: number): void {
    this.#context.budget.note(this, bytes);
  }

  /** @internal */
  log(channel: string): ChannelLog {
    return this.#transport.log(channel);
  }

  /** @internal */
  flushTurn(): void {
    this.#transport.flush();
  }

  /** @internal */
  onBehind(): void {
    this.dispatch({ type: "fell-behind" });
  }

  /** @internal */
  onCaughtUp(): void {
    this.dispatch({ type: "caught-up" });
  }

  /** @internal */
  onUnreadable(fault: RedisSseError): void {
    this.end("redis-lost", fault);
  }

  /** @internal */
  left(channel: string): void {
    this.#history.forget(channel);
    this.#delivery.forget(channel);
  }

  /** @internal */
  get isOpen(): boolean {
    return this.#snapshot.state === "subscribed";
  }

  /** @internal */
  get isWritable(): boolean {
    return this.#snapshot.state === "subscribed" && this.#snapshot.flow !== "stalled";
  }

  /**
   * Ends the stream if all its channels have ended and no event is buffered.
   * @internal
   */
  ended(): void {
    const ending = this.#history.endingOf(this.#channels.names);
    if (ending !== null && this.#delivery.waitingBytes === 0) this.end(ending);
  }

  /** @internal */
  onDrain(): void {
    if (this.#snapshot.state === "subscribed" && !this.isWritable) this.dispatch({ type: "drained" });
  }

  /** @internal */
  onClose(failed: boolean): void {
    const isLost = hasLostPeer(this.#output.connection);
    this.end(isLost ? "peer-lost" : failed ? "write-error" : "client-gone");
  }

  /** @internal */
  end(reason: CloseReason, fault: RedisSseError | null = null): void {
    if (this.closeReason !== null) return;
    this.#fault = fault;
    this.dispatch({ type: "close", reason });
  }

  /** @internal */
  dispatch(event: SessionEvent): void {
    const [next, effects] = transition(this.#snapshot, event, this.#limits);
    if (next !== this.#snapshot) {
      this.#snapshot = next;
      this.#delivery.follow(next);
    }
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: SessionEffect): void {
    switch (effect) {
      case "announce":
        return this.#announce();
      case "flush":
        return this.#delivery.flush();
      case "replay":
        return this.#history.run();
      case "release":
        return this.#release();
      case "tell-fault":
        log("[SSE] connection error: %s", this.#fault!.message);
        return this.#output.answer(answerTo(this.#fault!, this.#answer));
      case "tear-down":
        this.#context.onClosing(this);
        this.#ticket?.end(this.closeReason!, this.#output.started);
        this.#closing?.abort(CLOSING);
        this.#history.stop();
        void this.#tearDown(this.closeReason!);
        return;
      case "report-closed":
        this.#context.onClosed(this);
        if (closed.hasSubscribers) this.#publishClosed();
        return this.#onClosed?.();
    }
  }

  /** If the release throws, the client still gets an answer, and the teardown still runs. */
  #release(): void {
    try {
      this.#transport.reset();
      log("[SSE] PubSub connection closed after the failed subscribe");
    } catch (error) {
      log("[SSE] reset failed: %s", sanitize(error).message);
    }
  }

  #announce(): void {
    // The subscription is complete, so no wait needs the signal any more.
    this.#closing = null;
    if (log.enabled)
      for (const channel of this.#channels.names) log("[SSE] subscribed: %s", printable(channel));
    const first = this.#first;
    this.#first = NO_FIRST_EVENTS;
    const opening = encodeOpening({
      first,
      ...this.#beginning,
      sessionId: this.id,
      channels: [...this.#channels.names],
      retryMs: this.#retryMs,
      heartbeatMs: this.#heartbeatMs,
      id: this.#cursor.takeId(),
    });
    const { gaps, recovered } = this.#beginning;
    this.#beginning = NOTHING_TO_TELL;
    this.#delivery.written(this.#output.start(opening), first.count + gaps.length);
    if (opened.hasSubscribers && this.isOpen) {
      const channels = [...this.#channels.names];
      opened.publish({ sessionId: this.id, key: this.#key, channels, recovered });
    }
  }

  /** Runs once, after the transition to `closing`. Never rejects. */
  async #tearDown(reason: CloseReason): Promise<void> {
    const { clock, settings } = this.#context;
    this.#context.tickerOf(this.#quietMs).remove(this);
    if (this.#telling !== null) clearImmediate(this.#telling);
    this.#revalidation?.stop();
    const what = reason === "client-gone" ? "client disconnected" : `closing (${reason})`;
    if (reason !== "subscribe-failed")
      log("[SSE] %s: user=%s, %d messages sent", what, this.#who, this.#delivery.sent);
    const end = { reason, fault: this.#fault, answer: this.#answer, timeoutMs: settings.closeTimeoutMs };
    const ended = endResponse(this.#output, this.#delivery, end);
    log("[SSE] cleaning up PubSub connection: user=%s", this.#who);
    await runTeardown(stagesOf(this.#transport, [...this.#channels.names]), clock, settings.closeTimeoutMs);
    log("[SSE] PubSub connection closed: user=%s", this.#who);
    await ended;
    this.#output.detach();
    this.dispatch({ type: "torn-down" });
  }

  /** @internal */
  closingSignal(): AbortSignal {
    if (this.closeReason !== null) return AbortSignal.abort(CLOSING);
    if (this.#closing === null) {
      this.#closing = new AbortController();
      // Each channel that is being added has a listener on the signal. There may be many at the same time.
      setMaxListeners(0, this.#closing.signal);
    }
    return this.#closing.signal;
  }

  #publishClosed(): void {
    const { messagesSent, bytesSent } = this.statistics;
    closed.publish({
      sessionId: this.id,
      key: this.#key,
      reason: this.closeReason!,
      code: this.#fault?.code,
      wasOpen: this.#output.started,
      messagesSent,
      bytesSent,
      durationMs: monotonicNow(this.#context.clock) - this.#begunAt,
    });
  }

  get #who(): string {
    return printable(this.#key ?? "-");
  }

  get #quietMs(): number {
    return this.#heartbeatMs || DEFAULT_HEARTBEAT_MS;
  }

  /** How a fault is answered before the stream has started. */
  get #answer(): FaultAnswerOptions {
    const onUnavailable = this.#onUnavailable;
    if (this.#evicted) return { onUnavailable, ...EVICTED };
    return { onUnavailable, retryMs: this.#retryMs };
  }
}

/** Far less than `HistoryPort.memoryMs()`, which is at least 24 hours, except for tasks. */
const RENEWAL_MS = 6 * 3_600_000;

/**
 * The client of an evicted stream reconnects after 60 to 75 s. If it reconnected sooner, more tabs than the limit
 * allows would evict each other in a loop.
 */
const EVICTED = { retryMs: 60_000, jitter: 0.25 } as const;

/**
 * Streams whose rights end at the same time end within this time, so that their clients do not all reconnect at once. With a tick
 * of up to a second, they end within 5 s.
 */
const EXPIRY_SPREAD_MS = 4_000;

const always = (): boolean => true;

const NOTHING_TO_TELL: Beginning = { recovered: false, gaps: [] };

/** The abort reason of every wait. An error object for each wait would cost more than the wait. */
const CLOSING = "closing";

/** Returns the time until a right ends, with a random delay of up to `EXPIRY_SPREAD_MS`. */
function remainingMs(expiresAt: StreamRequest["expiresAt"], now: number): number {
  return readExpiry(expiresAt) - now + EXPIRY_SPREAD_MS * Math.random();
}

/** Each id has the token of the ticket, and the token that limits how far back the client may resume. */
function tokenSourceOf(ticket: StreamTicket | null, admission: TokenSource | null): TokenSource | null {
  if (ticket === null || admission === null) return ticket ?? admission;
  return {
    get token() {
      return joinTokens(ticket.token, admission.token);
    },
  };
}

/** Randomizes the lifetime, so that streams that started together do not end together. */
function limitsOf(settings: SessionSettings): SessionLimits {
  const { maxBufferedBytes, maxStallMs, maxLifetimeMs } = settings;
  if (maxLifetimeMs === Infinity) return settings;
  return { maxBufferedBytes, maxStallMs, maxLifetimeMs: maxLifetimeMs * (0.8 + 0.2 * Math.random()) };
}
