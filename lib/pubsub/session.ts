import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";

import { monotonicNow } from "../clock.js";
import { sanitize, type RedisSseError } from "../errors.js";
import { createLog, printable } from "../log.js";
import { Backlog } from "./backlog.js";
import { Block } from "./block.js";
import { Delivery } from "./delivery.js";
import { EventBatch } from "./event-batch.js";
import { EventRules } from "./event-rules.js";
import { sayFarewell } from "./farewell.js";
import { answerTo, type FaultAnswerOptions } from "./answer.js";
import { encodeControl, encodeId, encodeRetry, HEARTBEAT } from "./frame.js";
import { NO_CHANNEL } from "./inbound-event.js";
import { encodeMessage, type OutboundMessage } from "./outbound-message.js";
import { hasLostPeer } from "./peer-watch.js";
import { SessionChannels } from "./session-channels.js";
import { SessionCursor } from "./session-cursor.js";
import { SessionHistory, type Beginning } from "./session-history.js";
import {
  initialSnapshot,
  transition,
  type CloseReason,
  type SessionEffect,
  type SessionEvent,
  type SessionLimits,
  type SessionSnapshot,
  type SessionState,
} from "./session-state.js";
import type { Sink, StreamRequest } from "./sink.js";
import { StreamOutput } from "./stream-output.js";
import type { SessionContext, SessionSettings, SessionStatistics } from "./session-context.js";
import { stagesOf } from "./session-stages.js";
import { runTeardown } from "./teardown.js";
import type { Transport } from "./transport.js";

const log = createLog("session");

/**
 * One client's stream: subscribes, writes what comes, and gives everything back, whatever fails and in
 * whatever order. `transition()` decides; this class carries out its effects.
 *
 * The rules of its races: the state changes at once and effects follow; every wait ends with closing; after
 * a wait nothing is assumed; what is held is released once.
 */
export class PubSubSession {
  readonly id: string = randomUUID();
  readonly #context: SessionContext;
  readonly #request: StreamRequest;
  readonly #limits: SessionLimits;
  readonly #output: StreamOutput;
  readonly #delivery: Delivery;
  readonly #transport: Transport;
  readonly #channels: SessionChannels;
  readonly #cursor = new SessionCursor();
  readonly #history: SessionHistory;
  /** There while somebody waits who has to hear that the session closes. */
  #closing: AbortController | null = null;
  /** There once somebody has asked for it. */
  #closed: Promise<void> | null = null;
  readonly #who: string;
  readonly #openedAt: number;
  readonly #begunAt: number;
  /** When something was written last, to within a tick. */
  #activeAt: number;
  /** When the client was seen to know last how far it has come. */
  #toldAt: number;
  #settle: () => void = () => {};
  #stopTicking: () => void = () => {};
  #snapshot: SessionSnapshot = initialSnapshot;
  #fault: RedisSseError | null = null;
  #beginning: Beginning = { recovered: false, gaps: [] };
  /** The connection was lost before the subscription was through, which then has failed. */
  #lostEarly: RedisSseError | null = null;

  /** Made by `RedisSse.open()`. */
  constructor(context: SessionContext, request: StreamRequest, sink: Sink, channels: readonly string[]) {
    this.#context = context;
    this.#request = request;
    this.#who = printable(request.key ?? "-");
    this.#openedAt = context.clock.now();
    this.#begunAt = monotonicNow(context.clock);
    this.#activeAt = this.#begunAt;
    this.#toldAt = this.#begunAt;
    this.#limits = limitsOf(context.settings);
    this.#output = new StreamOutput(sink, context.clock, {
      onDrain: () => this.#drained(),
      onClose: (failed) =>
        this.#end(hasLostPeer(sink.connection) ? "peer-lost" : failed ? "write-error" : "client-gone"),
    });
    const owner = {
      snapshot: () => this.#snapshot,
      dispatch: (event: SessionEvent) => this.#dispatch(event),
      end: (reason: CloseReason, fault?: RedisSseError) => this.#end(reason, fault),
      lost: (fault: RedisSseError) => this.#lost(fault),
      ended: () => this.#endIfComplete(),
      waiting: (bytes: number) => context.budget.note(this, bytes),
    };
    this.#history = new SessionHistory({
      context,
      log: (channel) => this.#transport.log(channel),
      flush: () => this.#transport.flush(),
      cursor: this.#cursor,
      owner,
    });
    const names = new Set(channels);
    this.#delivery = new Delivery({
      owner,
      channels: names,
      history: this.#history,
      cursor: this.#cursor,
      output: this.#output,
      backlog: createBacklog(request, context),
      clock: context.clock,
      rules: EventRules.of(request, { maxEventBytes: context.settings.maxEventBytes, onGap: context.onGap }),
    });
    this.#history.writeTo(this.#delivery);
    this.#transport = context.createTransport(() => `session ${this.id} user=${this.#who}`, this.#delivery);
    this.#channels = new SessionChannels(names, {
      transport: this.#transport,
      clock: context.clock,
      settings: context.settings,
      subscribe: (added, signal) => this.#subscribe(added, signal),
      onLeft: (name) => {
        this.#history.forget(name);
        this.#delivery.forget(name);
      },
      isOpen: () => this.state === "subscribed",
      closing: () => this.#closingSignal(),
    });
  }

  get state(): SessionState {
    return this.#snapshot.state;
  }

  /** Why the session ends or has ended; `null` while it is open. */
  get closeReason(): CloseReason | null {
    return "reason" in this.#snapshot ? this.#snapshot.reason : null;
  }

  /** Resolves when the session is closed, for whatever reason. */
  get closed(): Promise<void> {
    if (this.#closed === null) {
      this.#closed =
        this.state === "closed" ? Promise.resolve() : new Promise((resolve) => (this.#settle = resolve));
    }
    return this.#closed;
  }

  get channels(): ReadonlySet<string> {
    return this.#channels.names;
  }

  /** The channels whose events it gets: none before it is subscribed. */
  get acknowledgedChannels(): readonly string[] {
    return this.state === "subscribed" ? this.#channels.acknowledged : [];
  }

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
   * Subscribes and goes live. Rejects when subscribing failed; by then the connection is given back and the
   * client told. Resolves when the client left meanwhile: `state` says so. Called once, by `RedisSse.open()`.
   */
  async start(): Promise<void> {
    if (this.state !== "created") return;
    this.#output.attach();
    if (log.enabled) {
      const channels = Array.from(this.channels, printable).join(", ");
      log("[SSE] create PubSub connection: user=%s, channel=%s", this.#who, channels);
    }
    if (this.#output.closed) this.#end("client-gone");
    if (this.state !== "created") return;
    this.#stopTicking = this.#context.startTicking(this, this.#heartbeatMs);
    try {
      await this.#channels.subscribe();
      // The acknowledgement may be the last that came over its connection.
      if (this.#lostEarly !== null) throw this.#lostEarly;
    } catch (error) {
      // Once the session is closing it is the teardown that undoes the subscription.
      if (this.state !== "created") return;
      this.#fault = this.#context.explain(sanitize(error));
      // No failure: the client has had all that there is.
      if (this.#fault.code === "COMPLETED") return this.#end("completed", this.#fault);
      log("[SSE] subscribe failed: %s", this.#fault.message);
      this.#dispatch({ type: "subscribe-failed" });
      throw this.#fault;
    }
    if (this.#output.closed) this.#end("client-gone");
    if (this.state !== "created") return;
    this.#dispatch({ type: "subscribe-acknowledged", behind: this.#history.behind });
    this.#endIfComplete();
  }

  /** Subscribes, and finds where the stream begins in each channel. */
  async #subscribe(channels: readonly string[], signal: AbortSignal): Promise<void> {
    const tracks = this.#history.expect(channels);
    await this.#transport.subscribe(channels, signal);
    if (this.state === "created") {
      this.#beginning = await this.#history.begin(channels, this.#request.lastEventId);
    } else {
      await Promise.all(tracks.map((track) => this.#history.join(track)));
    }
  }

  /**
   * Subscribes this stream to one more channel; resolves when Redis has acknowledged. Rejects with
   * `INVALID_CHANNEL`, `FORBIDDEN`, `LIMIT_CHANNELS`, `CLOSED`, `ABORTED` (taken away again meanwhile) or a
   * fault of Redis, and the channels stay as they were.
   */
  async addChannel(name: string): Promise<void> {
    this.#context.assertChannel(name);
    this.#transport.flush();
    await this.#channels.add(name);
    this.#endIfComplete();
    // The client has to know its place there, should it go before the first event. Without data none is dispatched.
    if (this.#cursor.id !== undefined && this.#writable) this.#delivery.write(this.#cursor.tell());
  }

  /** Takes a channel from this stream: none of its events is written once this was called. */
  removeChannel(name: string): Promise<void> {
    this.#transport.flush();
    const removed = this.#channels.remove(name);
    this.#endIfComplete();
    return removed;
  }

  /**
   * Sends one event to this client alone, in order with the others, without an id. Throws
   * `INVALID_EVENT`, `UNSERIALIZABLE`, `EVENT_TOO_LARGE`; does nothing once the session is closing.
   */
  send(message: OutboundMessage): void {
    const event = { channel: NO_CHANNEL, ...encodeMessage(message, this.#context.settings.maxEventBytes) };
    this.#transport.flush();
    this.#delivery.deliver(new EventBatch(NO_CHANNEL, [event], false));
  }

  /**
   * Ends the stream and gives everything back; resolves when that is done, within the deadlines of its
   * stages. Every call returns the same promise; the first one's reason counts. A fault is told to the
   * client as an `error` event, by its code and message.
   */
  close(reason: CloseReason = "app", fault: RedisSseError | null = null): Promise<void> {
    // What came before this is written before the stream ends.
    if (this.closeReason === null) this.#transport.flush();
    this.#end(reason, fault);
    return this.closed;
  }

  /** Looks at the clock: stall, lifetime, heartbeat. Called by the service's ticker. */
  tick(now: number): void {
    if (this.#output.takeActivity()) this.#activeAt = now;
    if (this.#cursor.isTold) this.#toldAt = now;
    this.#dispatch({ type: "tick", ageMs: now - this.#begunAt, stalledMs: now - this.#delivery.stalledAt });
    if (!this.#writable) return;
    // What could not be read before is tried again.
    this.#history.run();
    // A client that has not read what it was sent needs no heartbeat, and its buffer none either. One that only gets
    // what has no place has to be told all the same how far it has come.
    if (now - Math.min(this.#activeAt, this.#toldAt) < this.#heartbeatMs || !this.#output.isClear) return;
    this.#delivery.write(this.#cursor.isTold ? HEARTBEAT : this.#cursor.tell());
  }

  /** What waits here is given up, since too much waits in all. Called by the service's budget. */
  relieve(): void {
    if (!this.#delivery.relieve()) this.#end("slow-consumer");
  }

  #lost(fault: RedisSseError): void {
    if (this.state === "created") this.#lostEarly = fault;
    else this.#end("redis-lost", fault);
  }

  get #writable(): boolean {
    return this.#snapshot.state === "subscribed" && this.#snapshot.flow !== "stalled";
  }

  /** Ends the stream when all its channels have ended, and nothing of them waits any more. */
  #endIfComplete(): void {
    const ending = this.#history.endingOf(this.channels);
    if (ending !== null && this.#delivery.waitingBytes === 0) this.#end(ending);
  }

  #drained(): void {
    if (this.#snapshot.state === "subscribed" && !this.#writable) this.#dispatch({ type: "drained" });
  }

  #end(reason: CloseReason, fault: RedisSseError | null = null): void {
    if (this.closeReason !== null) return;
    this.#fault = fault;
    this.#dispatch({ type: "close", reason });
  }

  #dispatch(event: SessionEvent): void {
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
        this.#closing?.abort(CLOSING);
        this.#history.stop();
        void this.#tearDown(this.closeReason!);
        return;
      case "settle":
        this.#context.onClosed(this);
        return this.#settle();
    }
  }

  /** Whatever it throws, what follows is told and torn down. */
  #release(): void {
    try {
      this.#transport.reset();
      log("[SSE] PubSub connection closed after the failed subscribe");
    } catch (error) {
      log("[SSE] reset failed: %s", sanitize(error).message);
    }
  }

  #announce(): void {
    // Whoever has waited for the subscription has it.
    this.#closing = null;
    if (log.enabled) for (const channel of this.channels) log("[SSE] subscribed: %s", printable(channel));
    const { recovered, gaps } = this.#beginning;
    const { id } = this.#cursor;
    const connected = { sessionId: this.id, channels: [...this.channels], recovered };
    // The place behind a gap is told with the gap: a client that goes before has to be told of it again.
    const last = gaps.at(-1);
    const first =
      encodeRetry(this.#retryMs) + encodeControl("connected", connected, last === undefined ? id : undefined);
    // With one write, since events may wait already: none of them goes out before the gap that it follows.
    const told = gaps.map((gap) => (gap === last ? encodeId(id!) + gap.frame : gap.frame)).join("");
    this.#delivery.written(this.#output.start(new Block(first + told)), gaps.length);
  }

  /** Runs once, from the transition to `closing`. Never rejects. */
  async #tearDown(reason: CloseReason): Promise<void> {
    const { clock, settings } = this.#context;
    this.#stopTicking();
    const what = reason === "client-gone" ? "client disconnected" : `closing (${reason})`;
    if (reason !== "subscribe-failed")
      log("[SSE] %s: user=%s, %d messages sent", what, this.#who, this.#delivery.sent);
    const farewell = { reason, fault: this.#fault, answer: this.#answer, timeoutMs: settings.closeTimeoutMs };
    const ended = sayFarewell(this.#output, this.#delivery, farewell);
    log("[SSE] cleaning up PubSub connection: user=%s", this.#who);
    await runTeardown(stagesOf(this.#transport, [...this.channels]), clock, settings.closeTimeoutMs);
    log("[SSE] PubSub connection closed: user=%s", this.#who);
    await ended;
    this.#output.detach();
    this.#dispatch({ type: "torn-down" });
  }

  #closingSignal(): AbortSignal {
    if (this.closeReason !== null) return AbortSignal.abort(CLOSING);
    if (this.#closing === null) {
      this.#closing = new AbortController();
      // Every channel that is being added listens to it, and there may be many at once.
      setMaxListeners(0, this.#closing.signal);
    }
    return this.#closing.signal;
  }

  get #heartbeatMs(): number {
    return this.#request.heartbeatMs ?? this.#context.settings.heartbeatMs;
  }

  get #retryMs(): number {
    return this.#request.retryMs ?? this.#context.settings.retryMs;
  }

  /** How a fault is answered while there is no stream yet. */
  get #answer(): FaultAnswerOptions {
    return { onUnavailable: this.#request.onUnavailable ?? "event", retryMs: this.#retryMs };
  }
}

/** What those who wait are told; an error of its own for each would cost more than the wait. */
const CLOSING = "closing";

/** Streams that began together do not end together. */
function limitsOf(settings: SessionSettings): SessionLimits {
  const { maxBufferedBytes, maxStallMs, maxLifetimeMs } = settings;
  if (maxLifetimeMs === Infinity) return settings;
  return { maxBufferedBytes, maxStallMs, maxLifetimeMs: maxLifetimeMs * (0.8 + 0.2 * Math.random()) };
}

function createBacklog(request: StreamRequest, { settings, onGap }: SessionContext): Backlog {
  const policy = request.slowConsumer ?? settings.slowConsumer;
  // A quarter is for live events that wait for those before them.
  return new Backlog({ policy, maxBytes: settings.maxBufferedBytes * 0.75, onGap });
}
