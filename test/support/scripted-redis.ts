import { EventEmitter } from "node:events";

import { RedisSseError } from "../../lib/errors.js";
import type { LeasedConnection } from "../../lib/subscriptions/dedicated-transport.js";
import type { HubConnection, HubHandlers } from "../../lib/subscriptions/subscription-hub.js";

interface Operation {
  readonly kind: "subscribe" | "unsubscribe";
  readonly channels: readonly string[];
  readonly connection: ScriptedConnection;
  resolve(): void;
  reject(error: Error): void;
}

/**
 * A scripted Redis. The test decides when it acknowledges, refuses, publishes, drops connections and restarts. The
 * operations of each connection are executed in order, as on a socket.
 */
export class ScriptedRedis {
  /** Channels denied by an ACL rule. */
  readonly denied: Set<string> = new Set<string>();
  readonly connections: Set<ScriptedConnection> = new Set<ScriptedConnection>();
  #down = false;

  get down(): boolean {
    return this.#down;
  }

  /** Answers the oldest operation of every connection. Returns false if no operation waits. */
  answerOne(): boolean {
    if (this.#down) return false;
    let answered = false;
    for (const connection of this.connections) answered = connection.answer() || answered;
    return answered;
  }

  publish(channel: string, message: string): void {
    for (const connection of this.connections) connection.receive(channel, message);
  }

  /** Drops all connections and refuses new ones until `returns()`. */
  drops(): void {
    if (this.#down) return;
    this.#down = true;
    for (const connection of this.connections) connection.drop();
  }

  returns(): void {
    if (!this.#down) return;
    this.#down = false;
    for (const connection of this.connections) connection.comeBack();
  }

  /** Number of connections that are subscribed to a channel. */
  receiversOf(channel: string): number {
    return [...this.connections].filter((connection) => connection.subscribed.has(channel)).length;
  }
}

class ScriptedConnection {
  readonly subscribed: Set<string> = new Set<string>();
  readonly #redis: ScriptedRedis;
  readonly #waiting: Operation[] = [];
  #ended = false;

  constructor(redis: ScriptedRedis) {
    this.#redis = redis;
    redis.connections.add(this);
  }

  send(kind: Operation["kind"], channels: readonly string[]): Promise<void> {
    if (this.#ended) return Promise.reject(new Error("Connection is closed."));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ kind, channels, connection: this, resolve, reject });
    });
  }

  answer(): boolean {
    const operation = this.#waiting.shift();
    if (operation === undefined) return false;
    const { kind, channels } = operation;
    if (kind === "subscribe" && channels.some((channel) => this.#redis.denied.has(channel))) {
      operation.reject(Object.assign(new Error("NOPERM no access to the channel"), { name: "ReplyError" }));
      return true;
    }
    for (const channel of channels) {
      if (kind === "subscribe") this.subscribed.add(channel);
      else this.subscribed.delete(channel);
    }
    operation.resolve();
    return true;
  }

  receive(_channel: string, _message: string): void {}
  drop(): void {
    this.subscribed.clear();
  }
  comeBack(): void {}

  /** Ends the connection. No answers or messages follow. */
  end(): void {
    this.#ended = true;
    this.subscribed.clear();
    this.#redis.connections.delete(this);
    for (const operation of this.#waiting.splice(0)) operation.reject(new Error("Connection is closed."));
  }
}

/** The shared connection. Like ioredis, it reconnects and sends unanswered operations again. */
export class ScriptedHubConnection extends ScriptedConnection implements HubConnection {
  readonly #handlers: HubHandlers;
  #ready = false;

  constructor(redis: ScriptedRedis, handlers: HubHandlers) {
    super(redis);
    this.#handlers = handlers;
    setImmediate(() => {
      if (!redis.down) this.comeBack();
    });
  }

  isReady(): boolean {
    return this.#ready;
  }

  subscribe(channels: readonly string[]): Promise<void> {
    return this.send("subscribe", channels);
  }

  unsubscribe(channels: readonly string[]): Promise<void> {
    return this.send("unsubscribe", channels);
  }

  override receive(channel: string, message: string): void {
    if (this.subscribed.has(channel)) this.#handlers.onMessage(channel, message);
  }

  override drop(): void {
    super.drop();
    if (!this.#ready) return;
    this.#ready = false;
    this.#handlers.onDown();
  }

  override comeBack(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#handlers.onReady();
  }

  detach(): void {
    this.#ready = false;
    this.end();
  }
}

/** Leases for dedicated sessions. The test fails if a lease is not released exactly once. */
export class ScriptedPool {
  readonly #redis: ScriptedRedis;
  inUse = 0;
  leased = 0;

  constructor(redis: ScriptedRedis) {
    this.#redis = redis;
  }

  async lease(signal: AbortSignal): Promise<LeasedConnection> {
    await new Promise((resolve) => setImmediate(resolve));
    if (signal.aborted) throw new RedisSseError("ABORTED", "closing");
    if (this.#redis.down) throw new RedisSseError("REDIS_UNAVAILABLE", "Redis cannot be reached");
    this.inUse++;
    this.leased++;
    const client = new ScriptedClient(this.#redis);
    let released = false;
    return {
      client,
      release: () => {
        if (released) throw new Error("a lease was released twice");
        released = true;
        this.inUse--;
        client.link.end();
      },
    };
  }
}

/** A leased client. It does not reconnect. */
class ScriptedClient extends EventEmitter {
  readonly link: ScriptedConnection;

  constructor(redis: ScriptedRedis) {
    super();
    this.link = new ScriptedConnection(redis);
    this.link.receive = (channel, message) => {
      if (this.link.subscribed.has(channel)) this.emit("message", channel, message);
    };
    this.link.drop = () => {
      this.link.end();
      this.emit("end");
    };
  }

  subscribe(...channels: string[]): Promise<unknown> {
    return this.link.send("subscribe", channels);
  }

  unsubscribe(...channels: string[]): Promise<unknown> {
    return this.link.send("unsubscribe", channels);
  }

  async quit(): Promise<unknown> {
    this.link.end();
    return "OK";
  }
}
