import { randomUUID } from "node:crypto";

import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import { answerTo, COMPLETED_ID, encodeFault, jitteredRetryMs } from "./answer.js";
import { encodeControl, encodeRetry, HEARTBEAT } from "./frame.js";
import { FrameBuffer } from "./frame-buffer.js";
import type { InboundEvent } from "./inbound-event.js";
import { encodeMessage, type OutboundMessage } from "./outbound-message.js";
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
import { StreamOutput, type WriteResult } from "./stream-output.js";
import { runTeardown, type TeardownStage } from "./teardown.js";
import type { CreateTransport, Transport } from "./transport.js";

export interface SessionSettings extends SessionLimits {
  readonly heartbeatMs: number;
  readonly retryMs: number;
  readonly maxChannelsPerSession: number;
  readonly maxEventBytes: number;
  /** How long a SUBSCRIBE may take, a leased connection included. */
  readonly subscribeTimeoutMs: number;
  /** How long each stage of the teardown may take, and the client to read what was written last. */
  readonly closeTimeoutMs: number;
}

/** What the service gives a session. */
export interface SessionContext {
  readonly settings: SessionSettings;
  readonly clock: Clock;
  readonly createTransport: CreateTransport;
  /** Throws `INVALID_CHANNEL` or `FORBIDDEN`. */
  readonly assertChannel: (name: unknown) => void;
  /** Ticks the session until the answer is called. */
  readonly startTicking: (session: PubSubSession, heartbeatMs: number) => () => void;
  readonly onClosed: (session: PubSubSession) => void;
}

/** Counters of one session. Times are `Clock.now()`, sizes bytes. */
export interface SessionStatistics {
  readonly openedAt: number;
  /** Events written to the client, `connected` and `closing` not counted. */
  readonly messagesSent: number;
  readonly bytesSent: number;
  /** Events that were never written: they came while the session was closing, or waited when it had to. */
  readonly messagesDropped: number;
  /** What waits for the client to read; at most `maxBufferedBytes`. */
  readonly bufferedBytes: number;
}

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
  readonly #transport: Transport;
  readonly #channels: Set<string>;
  readonly #waiting = new FrameBuffer<InboundEvent>();
  readonly #adding = new Map<string, Promise<void>>();
  readonly #closing = new AbortController();
  readonly #closed: Promise<void>;
  readonly #who: string;
  readonly #openedAt: number;
  #settle!: () => void;
  #stopTicking: () => void = () => {};
  #snapshot: SessionSnapshot = initialSnapshot;
  #fault: RedisSseError | null = null;
  #messagesSent = 0;
  #messagesDropped = 0;
  #stalledAt = 0;

  /** Made by `RedisSse.open()`. */
  constructor(context: SessionContext, request: StreamRequest, sink: Sink, channels: readonly string[]) {
    this.#context = context;
    this.#request = request;
    this.#channels = new Set(channels);
    this.#who = printable(request.key ?? "-");
    this.#openedAt = context.clock.now();
    // Streams that began together do not end together.
    const maxLifetimeMs = context.settings.maxLifetimeMs * (0.8 + 0.2 * Math.random());
    this.#limits = { ...context.settings, maxLifetimeMs };
    this.#closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#transport = context.createTransport(`session ${this.id} user=${this.#who}`, {
      deliver: (event) => this.#deliver(event),
      interrupted: (names) => this.#tellGap(names),
      refused: (_channel, fault) => this.#end("revoked", fault),
      // Before the acknowledgement the subscription itself fails, and says more.
      lost: (fault) => this.state !== "created" && this.#end("redis-lost", fault),
    });
    this.#output = new StreamOutput(sink, context.clock, {
      onDrain: () => this.#drained(),
      onClose: (failed) => this.#end(failed ? "write-error" : "client-gone"),
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
    return this.#closed;
  }

  get channels(): ReadonlySet<string> {
    return this.#channels;
  }

  get statistics(): SessionStatistics {
    return {
      openedAt: this.#openedAt,
      messagesSent: this.#messagesSent,
      bytesSent: this.#output.bytesSent,
      messagesDropped: this.#messagesDropped,
      bufferedBytes: this.#waiting.bytes,
    };
  }

  /**
   * Subscribes and goes live. Rejects when subscribing failed; by then the connection is given back and the
   * client told. Resolves when the client left meanwhile: `state` says so. Called once, by `RedisSse.open()`.
   */
  async start(): Promise<void> {
    const channels = [...this.#channels];
    log("[SSE] create PubSub connection: user=%s, channel=%s", this.#who, channels.map(printable).join(", "));
    if (this.#output.closed) this.#end("client-gone");
    if (this.state !== "created") return;
    this.#stopTicking = this.#context.startTicking(this, this.#heartbeatMs);
    try {
      await this.#subscribe(channels);
    } catch (error) {
      // Once the session is closing it is the teardown that undoes the subscription.
      if (this.state !== "created") return;
      this.#fault = sanitize(error);
      log("[SSE] subscribe failed: %s", this.#fault.message);
      this.#dispatch({ type: "subscribe-failed" });
      throw this.#fault;
    }
    if (this.#output.closed) this.#end("client-gone");
    if (this.state === "created") this.#dispatch({ type: "subscribe-acknowledged" });
  }

  /**
   * Subscribes this stream to one more channel; resolves when Redis has acknowledged. Rejects with
   * `INVALID_CHANNEL`, `FORBIDDEN`, `LIMIT_CHANNELS`, `CLOSED` or a fault of Redis, and the channels stay
   * as they were.
   */
  async addChannel(name: string): Promise<void> {
    this.#context.assertChannel(name);
    if (this.state !== "subscribed") throw closedError();
    if (this.#channels.has(name)) return this.#adding.get(name);
    const { maxChannelsPerSession } = this.#context.settings;
    if (this.#channels.size >= maxChannelsPerSession) {
      throw new RedisSseError(
        "LIMIT_CHANNELS",
        `expected at most ${maxChannelsPerSession} channels in a stream`,
      );
    }
    this.#channels.add(name);
    const added = this.#add(name).finally(() => this.#adding.delete(name));
    this.#adding.set(name, added);
    return added;
  }

  /** Takes a channel from this stream: none of its events is written once this was called. */
  async removeChannel(name: string): Promise<void> {
    if (this.state !== "subscribed" || !this.#channels.delete(name)) return;
    const { clock, settings } = this.#context;
    try {
      await withDeadline(this.#transport.unsubscribe([name]), {
        clock,
        timeoutMs: settings.closeTimeoutMs,
        what: "UNSUBSCRIBE",
        signal: this.#closing.signal,
      });
      log("[SSE] unsubscribed: %s", printable(name));
    } catch (error) {
      // Its events are dropped all the same, and the teardown ends whatever is left.
      log("[SSE] unsubscribe failed: %s", sanitize(error).message);
    }
  }

  /**
   * Sends one event to this client alone, in order with the others, without an id. Throws
   * `INVALID_EVENT`, `UNSERIALIZABLE`, `EVENT_TOO_LARGE`; does nothing once the session is closing.
   */
  send(message: OutboundMessage): void {
    const { event, data, frame } = encodeMessage(message, this.#context.settings.maxEventBytes);
    this.#accept({ channel: "", event, data, frame });
  }

  /**
   * Ends the stream and gives everything back; resolves when that is done, within the deadlines of its
   * stages. Every call returns the same promise; the first one's reason counts. A fault is told to the
   * client as an `error` event, by its code and message.
   */
  close(reason: CloseReason = "app", fault: RedisSseError | null = null): Promise<void> {
    this.#end(reason, fault);
    return this.#closed;
  }

  /** Looks at the clock: stall, lifetime, heartbeat. Called by the service's ticker. */
  tick(now: number): void {
    this.#dispatch({ type: "tick", ageMs: now - this.#openedAt, stalledMs: now - this.#stalledAt });
    if (this.#live && now - this.#output.lastWriteAt >= this.#heartbeatMs) this.#write(HEARTBEAT);
  }

  async #add(name: string): Promise<void> {
    try {
      await this.#subscribe([name]);
    } catch (error) {
      this.#channels.delete(name);
      // A SUBSCRIBE that ran out of time may still take effect: it is undone behind it.
      this.#transport.unsubscribe([name]).catch(() => {});
      throw sanitize(error);
    }
    if (this.state !== "subscribed") throw closedError();
    log("[SSE] subscribed: %s", printable(name));
  }

  get #live(): boolean {
    return this.#snapshot.state === "subscribed" && this.#snapshot.flow === "live";
  }

  #deliver(event: InboundEvent): void {
    if (this.#channels.has(event.channel)) this.#accept(event);
  }

  #accept(event: InboundEvent): void {
    if (this.#live) {
      this.#pass(event);
    } else if (this.#closing.signal.aborted) {
      this.#messagesDropped++;
    } else {
      this.#waiting.push(event);
      this.#dispatch({ type: "buffered", bufferedBytes: this.#waiting.bytes });
    }
  }

  /** Writes one event, and ends the stream where it was the last. */
  #pass(event: InboundEvent): void {
    this.#messagesSent++;
    this.#write(event.frame);
    if (this.#request.until !== undefined && this.#isLast(event)) this.#end("completed");
  }

  #isLast({ channel, event, data }: InboundEvent): boolean {
    try {
      return this.#request.until!({ channel, event, data });
    } catch (error) {
      log("until() threw: %s", error instanceof Error ? error.name : typeof error);
      return false;
    }
  }

  #tellGap(channels: readonly string[]): void {
    const data = { channels, reason: "interrupted" };
    this.#accept({ channel: "", event: "gap", data: "", frame: encodeControl("gap", data) });
  }

  #write(frame: Buffer): void {
    this.#written(this.#output.write(frame));
  }

  #written(result: WriteResult): void {
    if (result === "failed") this.#end("write-error");
    if (result !== "blocked" || !this.#live) return;
    this.#stalledAt = this.#context.clock.now();
    this.#dispatch({ type: "blocked" });
  }

  #drained(): void {
    if (this.#snapshot.state === "subscribed" && !this.#live) this.#dispatch({ type: "drained" });
  }

  #end(reason: CloseReason, fault: RedisSseError | null = null): void {
    if (this.closeReason !== null) return;
    this.#fault = fault;
    this.#dispatch({ type: "close", reason });
  }

  #dispatch(event: SessionEvent): void {
    const [next, effects] = transition(this.#snapshot, event, this.#limits);
    this.#snapshot = next;
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: SessionEffect): void {
    switch (effect) {
      case "announce":
        return this.#announce();
      case "flush":
        return this.#flush();
      case "release":
        this.#transport.reset();
        return log("[SSE] PubSub connection closed after the failed subscribe");
      case "tell-fault":
        log("[SSE] connection error: %s", this.#fault!.message);
        return this.#answerFault(this.#fault!);
      case "tear-down":
        this.#closing.abort();
        void this.#tearDown(this.closeReason!);
        return;
      case "settle":
        this.#context.onClosed(this);
        return this.#settle();
    }
  }

  #announce(): void {
    for (const channel of this.#channels) log("[SSE] subscribed: %s", printable(channel));
    // Without a history there is nothing to recover: the client begins with what comes now.
    const connected = { sessionId: this.id, channels: [...this.#channels], recovered: false };
    const frames = [encodeRetry(this.#retryMs), encodeControl("connected", connected)];
    this.#written(this.#output.start(Buffer.concat(frames)));
  }

  #flush(): void {
    while (this.#live) {
      const event = this.#waiting.shift();
      if (event === undefined) return;
      this.#pass(event);
    }
  }

  #answerFault(fault: RedisSseError): void {
    const onUnavailable = this.#request.onUnavailable ?? "event";
    this.#output.answer(answerTo(fault, { onUnavailable, retryMs: this.#retryMs }));
  }

  /** Runs once, from the transition to `closing`. Never rejects. */
  async #tearDown(reason: CloseReason): Promise<void> {
    const { clock, settings } = this.#context;
    this.#stopTicking();
    const what = reason === "client-gone" ? "client disconnected" : `closing (${reason})`;
    if (reason !== "subscribe-failed")
      log("[SSE] %s: user=%s, %d messages sent", what, this.#who, this.#messagesSent);
    const ended = this.#endOutput(reason);
    log("[SSE] cleaning up PubSub connection: user=%s", this.#who);
    await runTeardown(this.#stages(), clock, settings.closeTimeoutMs);
    log("[SSE] PubSub connection closed: user=%s", this.#who);
    await ended;
    this.#output.detach();
    this.#dispatch({ type: "torn-down" });
  }

  #stages(): readonly TeardownStage[] {
    const channels = [...this.#channels];
    return [
      {
        name: "unsubscribe",
        run: () => this.#transport.unsubscribe(channels),
        onDone: () => channels.forEach((channel) => log("[SSE] unsubscribed: %s", printable(channel))),
        onFault: (fault) => log("[SSE] unsubscribe failed (closing all the same): %s", fault.message),
      },
      {
        name: "close",
        run: () => this.#transport.close(),
        onFault: (fault) => log("[SSE] close failed (resetting all the same): %s", fault.message),
      },
      {
        name: "reset",
        run: () => this.#transport.reset(),
        onFault: (fault) => log("[SSE] reset failed: %s", fault.message),
      },
    ];
  }

  /** Ends the response, after what still waits and a word of why, where there is anyone to read it. */
  async #endOutput(reason: CloseReason): Promise<void> {
    const output = this.#output;
    if (reason === "slow-consumer" || reason === "write-error") output.destroy();
    else if (!output.closed) {
      if (output.started) this.#writeFarewell(reason);
      else if (reason !== "subscribe-failed") {
        this.#answerFault(this.#fault ?? new RedisSseError("CLOSED", `this stream was closed: ${reason}`));
      }
      await output.end(this.#context.settings.closeTimeoutMs);
    }
    this.#messagesDropped += this.#waiting.clear();
  }

  #writeFarewell(reason: CloseReason): void {
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) {
      this.#messagesSent++;
      this.#output.write(event.frame);
    }
    const retryMs = jitteredRetryMs(this.#retryMs);
    if (this.#fault !== null) this.#output.write(encodeFault(this.#fault, retryMs));
    const id = reason === "completed" ? COMPLETED_ID : undefined;
    this.#output.write(Buffer.concat([encodeRetry(retryMs), encodeControl("closing", { reason }, id)]));
  }

  #subscribe(channels: readonly string[]): Promise<void> {
    const { signal } = this.#closing;
    return withDeadline(this.#transport.subscribe(channels, signal), {
      clock: this.#context.clock,
      timeoutMs: this.#context.settings.subscribeTimeoutMs,
      what: "the subscription",
      signal,
    });
  }

  get #heartbeatMs(): number {
    return this.#request.heartbeatMs ?? this.#context.settings.heartbeatMs;
  }

  get #retryMs(): number {
    return this.#request.retryMs ?? this.#context.settings.retryMs;
  }
}

function closedError(): RedisSseError {
  return new RedisSseError("CLOSED", "expected an open stream, but this session is not subscribed");
}
