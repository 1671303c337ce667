import type { Redis, RedisOptions } from "ioredis";

import type { Clock } from "../lib/index.js";
import type { MockClient, MockModule } from "./mock-module.js";
import { answerChecks, withChecks } from "./script-checks.js";

/** State of the server. All its connections share it. */
export interface ServerState {
  readonly mock: MockModule;
  /** ioredis-mock clients with the same host share their data. */
  readonly host: string;
  readonly clock: Clock;
  /** All connections that have not ended. */
  readonly connections: Set<TestConnection>;
  isStopped: boolean;
  isPaused: boolean;
  /** Delay of each command in milliseconds. */
  latencyMs: number;
  /** Whether commands wait for the restart of a stopped server. Otherwise they are rejected. */
  keepsCommands: boolean;
  /** Called before a command is executed. */
  onCommand(): void;
  refusesAny(): boolean;
  /** Returns the Redis error for a refused command, or `null` if the command is allowed. */
  refusal(command: string, channels: readonly string[], hasWritten: boolean): string | null;
}

/** The states of ioredis that change how a command behaves. */
type State = "idle" | "connecting" | "ready" | "lost" | "ended";

interface Call {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly run: () => Promise<unknown>;
}

/** A command that has no answer yet. */
interface HeldCall extends Call {
  readonly readyAt: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

type Method = (...values: unknown[]) => unknown;
type ScriptDefinition = { readonly lua: string; readonly numberOfKeys?: number };

/** Methods of an ioredis-mock client that are not Redis commands. */
const NO_COMMANDS: ReadonlySet<string> = new Set([
  "_signalModifiedKey",
  "connect",
  "defineCommand",
  "disconnect",
  "quit",
]);
const MESSAGES: ReadonlySet<string | symbol> = new Set([
  "message",
  "messageBuffer",
  "pmessage",
  "pmessageBuffer",
]);
const SUBSCRIBES: ReadonlySet<string> = new Set(["subscribe", "psubscribe"]);

/**
 * One connection to the in-memory Redis. ioredis-mock executes the commands. This class adds lost connections and
 * reconnects with the events of ioredis. It also adds commands that wait, are delayed or are refused.
 */
export class TestConnection {
  readonly client: Redis;
  readonly #server: ServerState;
  readonly #options: RedisOptions;
  readonly #mock: MockClient;
  /** The methods of ioredis-mock, before they were replaced. */
  readonly #commands = new Map<string, Method>();
  readonly #held: HeldCall[] = [];
  #state: State = "idle";
  /** Subscriptions of the lost connection, by subscribe command. */
  readonly #lostSubscriptions: (readonly [command: string, channels: readonly string[]])[] = [];
  /** Ends the wait of `connect()`. */
  #opening: { resolve(): void; reject(error: Error): void } | null = null;
  #cancelPump: (() => void) | null = null;
  #cancelDeadline: (() => void) | null = null;
  /** The running command: the error that its script returned, and whether it has written. */
  #scriptError: string | null = null;
  #hasWritten = false;

  constructor(server: ServerState, options: RedisOptions) {
    const { host, mock } = server;
    this.#server = server;
    this.#options = options;
    this.#mock = new mock.Client({
      ...options,
      host,
      port: 6379,
      lazyConnect: true,
      enableOfflineQueue: true,
    });
    // Without this, Node warns of a leak if there are more than ten connections.
    const { context, channels, patternChannels } = this.#mock;
    for (const emitter of [context.modifiedKeyEvents, channels, patternChannels]) emitter.setMaxListeners(0);
    this.#mock.data = answerChecks(this.#mock.data, {
      refusal: (command, channel) => this.#check(command, channel === "" ? [] : [channel]),
      onError: (text) => (this.#scriptError = text),
    });
    this.#replaceMethods();
    this.client = this.#mock as unknown as Redis;
    server.connections.add(this);
    if (options.lazyConnect !== true) this.#connect().catch(() => {});
  }

  #replaceMethods(): void {
    const mock = this.#mock as unknown as Record<string, Method>;
    for (const [name, method] of Object.entries(mock)) {
      if (typeof method !== "function" || name.endsWith("Stream")) continue;
      this.#commands.set(name, method);
      if (!NO_COMMANDS.has(name)) mock[name] = this.#command(name, (args) => method(...args));
    }
    const disconnect = this.#mock.disconnect.bind(this.#mock);
    this.#commands.set("disconnect", disconnect);
    const emit = this.#mock.emit.bind(this.#mock);
    const replaced: Record<string, Method> = {
      connect: () => this.#connect(),
      disconnect: () => this.#end(),
      quit: () => this.#quit(),
      duplicate: (changes) =>
        new TestConnection(this.#server, { ...this.#options, ...(changes as RedisOptions) }).client,
      defineCommand: (name, script) => this.#defineCommand(name as string, script as ScriptDefinition),
      // For the scripts of this library.
      now: () => this.#server.clock.now(),
      // Messages published just before the connection was lost do not arrive.
      emit: (event, ...values) =>
        (this.#state !== "ready" && MESSAGES.has(event as string)) || emit(event as string, ...values),
    };
    for (const name of ["pipeline", "multi"]) {
      const create = mock[name]!.bind(mock);
      replaced[name] = (...values) => {
        const pipeline = create(...values) as Record<string, Method>;
        const exec = pipeline["exec"]!.bind(pipeline);
        pipeline["exec"] = this.#command("exec", (args) => exec(...args));
        return pipeline;
      };
    }
    Object.assign(mock, replaced);
  }

  #command(name: string, run: (args: readonly unknown[]) => unknown): Method {
    const canonical = name.replace(/Buffer$/, "").toLowerCase();
    return (...values) => {
      const last = values.at(-1);
      const callback = typeof last === "function" ? (last as Method) : null;
      const args = callback === null ? values : values.slice(0, -1);
      const reply = this.#send({ name: canonical, args, run: async () => run(args) });
      if (callback === null) return reply;
      return asCallback(reply, callback);
    };
  }

  #defineCommand(name: string, { lua, numberOfKeys }: ScriptDefinition): void {
    const define = this.#commands.get("defineCommand")!;
    const mock = this.#mock as unknown as Record<string, Method>;
    const plain = compile(lua);
    const checked = compile(withChecks(lua));
    mock[name] = this.#command(name, (args) => (this.#server.refusesAny() ? checked : plain)(...args));

    function compile(text: string): Method {
      define(name, { lua: text, numberOfKeys });
      return mock[name]!;
    }
  }

  #send(call: Call): Promise<unknown> {
    if (this.#state === "ended") return Promise.reject(connectionClosed());
    if (this.#state === "idle") this.#connect().catch(() => {});
    if (this.#isGivenUp) return Promise.reject(outOfRetries());
    const { clock, latencyMs, isPaused } = this.#server;
    const goesOut = this.#state === "ready" && !isPaused && latencyMs === 0 && this.#held.length === 0;
    if (goesOut) return this.#run(call);
    return new Promise((resolve, reject) => {
      const { commandTimeout } = this.#options;
      const cancelTimeout =
        commandTimeout === undefined
          ? () => {}
          : clock.schedule(() => {
              const index = this.#held.indexOf(held);
              // The command was executed in this same moment, so its answer follows.
              if (index === -1) return;
              this.#held.splice(index, 1);
              reject(new Error("Command timed out"));
            }, commandTimeout);
      const held: HeldCall = {
        ...call,
        readyAt: clock.now() + latencyMs,
        resolve: (value) => {
          cancelTimeout();
          resolve(value);
        },
        reject: (error) => {
          cancelTimeout();
          reject(error);
        },
      };
      this.#held.push(held);
      this.pump();
    });
  }

  /** Whether a command is rejected because the server is stopped. Commands of a subscriber wait, as in ioredis. */
  get #isGivenUp(): boolean {
    const { isStopped, keepsCommands } = this.#server;
    return isStopped && !keepsCommands && this.#options.maxRetriesPerRequest !== null;
  }

  /** Whether ioredis would try to reconnect. */
  get #reconnects(): boolean {
    const { retryStrategy } = this.#options;
    return typeof retryStrategy !== "function" || typeof retryStrategy(1) === "number";
  }

  async #run({ name, args, run }: Call): Promise<unknown> {
    this.#server.onCommand();
    this.#scriptError = null;
    this.#hasWritten = false;
    const channels = SUBSCRIBES.has(name) ? args.flat().map(String) : [];
    const refusal = this.#check(name, name === "publish" ? [String(args[0])] : channels);
    if (refusal !== null) throw replyError(refusal);
    // ioredis-mock executes a command at once and uses Date.now() for the expiry of keys.
    const { now } = Date;
    const time = this.#server.clock.now();
    Date.now = () => time;
    let reply: Promise<unknown>;
    try {
      reply = run();
    } finally {
      Date.now = now;
    }
    const scriptError = this.#scriptError;
    if (scriptError === null) return reply;
    await reply.catch(() => {});
    throw replyError(scriptError);
  }

  #check(command: string, channels: readonly string[]): string | null {
    const refusal = this.#server.refusal(command, channels, this.#hasWritten);
    if (refusal === null && this.#server.mock.hasFlag(command, "write")) this.#hasWritten = true;
    return refusal;
  }

  /** Executes the commands that no longer have to wait. */
  pump(): void {
    this.#cancelPump?.();
    this.#cancelPump = null;
    const { clock } = this.#server;
    if (this.#state !== "ready") return;
    while (!this.#server.isPaused && this.#held.length > 0 && this.#held[0]!.readyAt <= clock.now()) {
      const held = this.#held.shift()!;
      this.#cancelDeadline?.();
      this.#cancelDeadline = null;
      this.#run(held).then(held.resolve, held.reject);
    }
    const [next] = this.#held;
    if (next === undefined) return;
    const { socketTimeout } = this.#options;
    // Socket timeout: a connection without an answer counts as lost.
    if (socketTimeout !== undefined) {
      this.#cancelDeadline ??= clock.schedule(() => {
        this.#emitError(`Socket timeout. Expecting data, but didn't receive any in ${socketTimeout}ms.`);
        this.#lose();
        this.returned();
      }, socketTimeout);
    }
    if (!this.#server.isPaused)
      this.#cancelPump = clock.schedule(() => this.pump(), next.readyAt - clock.now());
  }

  #connect(): Promise<void> {
    if (this.#state === "ready" || this.#state === "connecting" || this.#state === "lost") {
      return Promise.reject(new Error("Redis is already connecting/connected"));
    }
    this.#state = "connecting";
    const opened = new Promise<void>((resolve, reject) => (this.#opening = { resolve, reject }));
    // Lets the caller add its listeners first.
    process.nextTick(() => {
      if (this.#server.isStopped) this.stopped();
      else this.returned();
    });
    if (!this.#server.isStopped && !this.#server.isPaused) this.#state = "ready";
    return opened;
  }

  /** The server stopped. The connection is lost, or the attempt to connect fails. */
  stopped(): void {
    if (this.#state === "idle" || this.#state === "ended" || this.#state === "lost") return;
    if (this.#opening !== null) this.#emitError("connect ECONNREFUSED 127.0.0.1:6379", "ECONNREFUSED");
    this.#lose();
  }

  /** The server accepts connections and answers. */
  returned(): void {
    const { isStopped, isPaused } = this.#server;
    if (isStopped || isPaused) return;
    if (this.#state === "lost" || this.#state === "connecting" || this.#opening !== null) {
      if (this.#state === "ended") return;
      this.#state = "ready";
      const opening = this.#opening;
      this.#opening = null;
      this.#mock.emit("connect");
      this.#resubscribe();
      this.#mock.emit("ready");
      opening?.resolve();
    }
    this.pump();
  }

  /** Redis closes connections that are subscribed to a channel that is now denied. */
  revoke(isRevoked: (channel: string) => boolean): void {
    if (!this.#subscribed("channels").some(isRevoked)) return;
    this.#lose();
    this.returned();
  }

  #subscribed(kind: "channels" | "patternChannels"): readonly string[] {
    const { instanceListeners } = this.#mock[kind] as {
      readonly instanceListeners?: Map<string, Map<unknown, unknown>>;
    };
    return Array.from(instanceListeners ?? []).flatMap(([channel, clients]) =>
      clients.has(this.#mock) ? [channel] : [],
    );
  }

  /** Subscribes again before the waiting commands, as ioredis does. */
  #resubscribe(): void {
    for (const [name, channels] of this.#lostSubscriptions.splice(0)) {
      if (channels.length === 0) continue;
      const run = async (): Promise<unknown> => this.#commands.get(name)!(...channels);
      // No caller waits for this, so ignore the error if Redis refuses a channel.
      this.#run({ name, args: channels, run }).catch(() => {});
    }
  }

  #lose(): void {
    this.#state = "lost";
    this.#cancelDeadline?.();
    this.#cancelDeadline = null;
    if (this.#options.autoResubscribe !== false) {
      this.#lostSubscriptions.push(
        ["subscribe", this.#subscribed("channels")],
        ["psubscribe", this.#subscribed("patternChannels")],
      );
    }
    this.#dropSubscriptions();
    this.#opening?.reject(connectionClosed());
    this.#opening = null;
    this.#mock.emit("close");
    if (!this.#reconnects) {
      this.#end();
      return;
    }
    if (this.#isGivenUp) for (const held of this.#held.splice(0)) held.reject(outOfRetries());
  }

  async #quit(): Promise<unknown> {
    if (this.#state === "ended") throw connectionClosed();
    const bye = async (): Promise<string> => {
      this.#end();
      return "OK";
    };
    // After the delayed commands. The other commands get no answer.
    if (this.#state !== "ready" || this.#server.isPaused) return bye();
    return this.#send({ name: "quit", args: [], run: bye });
  }

  #end(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#cancelPump?.();
    this.#cancelDeadline?.();
    this.#dropSubscriptions();
    this.#opening?.reject(connectionClosed());
    this.#opening = null;
    for (const held of this.#held.splice(0)) held.reject(connectionClosed());
    // Emits `end`.
    this.#commands.get("disconnect")!();
    this.#server.connections.delete(this);
  }

  /** Removes subscriptions, because ioredis-mock keeps them. */
  #dropSubscriptions(): void {
    for (const name of ["unsubscribe", "punsubscribe"]) void this.#commands.get(name)!();
    this.#mock.subscriberMode = false;
  }

  #emitError(message: string, code?: string): void {
    if (this.#mock.listenerCount("error") === 0) return;
    this.#mock.emit("error", Object.assign(new Error(message), code === undefined ? {} : { code }));
  }
}

/** Supports commands that are called with a callback. */
async function asCallback(reply: Promise<unknown>, callback: Method): Promise<unknown> {
  let outcome: readonly [unknown, unknown?];
  try {
    outcome = [null, await reply];
  } catch (error) {
    outcome = [error];
  }
  callback(...outcome);
  return outcome[1];
}

function replyError(text: string): Error {
  return named("ReplyError", text);
}

function outOfRetries(): Error {
  return named("MaxRetriesPerRequestError", "Reached the max retries per request limit.");
}

function connectionClosed(): Error {
  return new Error("Connection is closed.");
}

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}
