import { TcpProxy } from "../support/tcp-proxy.js";
import { serviceOptions } from "./channels.js";
import { CutProxy } from "./cut-proxy.js";
import type { PublisherPlan } from "./member-protocol.js";
import type { RedisAddress } from "./redis-address.js";
import { MemberProcess, type MemberHandlers } from "./member-process.js";

export interface SlotOptions {
  readonly name: string;
  readonly address: RedisAddress;
  /** Of the one server that a proxy is put before; `null` for none. */
  readonly redisPort: number | null;
  readonly serves: boolean;
  readonly subscriptions: "shared" | "dedicated";
  /** Of each process that comes: its publishers are others than those of the one before. */
  readonly nextPublishers: () => readonly PublisherPlan[];
  readonly seed: number;
  readonly handlers: MemberHandlers;
}

/** A place in the cluster: one process after another, between a proxy to Redis and one to its clients. */
export class Slot {
  readonly name: string;
  /** The way to Redis; `null` where there are several servers, which clients find by themselves. */
  readonly redis: TcpProxy | null;
  readonly clients: CutProxy;
  readonly #options: SlotOptions;
  #member: MemberProcess | null = null;
  #generation = 0;

  private constructor(options: SlotOptions, redis: TcpProxy | null, clients: CutProxy) {
    this.name = options.name;
    this.#options = options;
    this.redis = redis;
    this.clients = clients;
  }

  static async start(options: SlotOptions): Promise<Slot> {
    const { redisPort } = options;
    const redis = redisPort === null ? null : await TcpProxy.start(redisPort);
    const slot = new Slot(options, redis, await CutProxy.start());
    await slot.boot();
    return slot;
  }

  async boot(): Promise<void> {
    const { handlers, serves, subscriptions, nextPublishers, seed } = this.#options;
    const plan = {
      service: serviceOptions(this.redis?.url ?? this.#options.address, subscriptions),
      serves,
      publishers: nextPublishers(),
      seed: seed + this.#generation++,
    };
    this.#member = await MemberProcess.start(plan, {
      onSettled: (settled) => handlers.onSettled(settled),
      onTrouble: (trouble) => handlers.onTrouble(`${this.name}: ${trouble}`),
    });
    if (serves) this.clients.upstreamPort = this.#member.port;
  }

  /** Ends the process as it is meant to be ended, or at once. */
  async end(signal: "SIGTERM" | "SIGKILL", timeoutMs: number): Promise<void> {
    const member = this.#member;
    if (member === null) return;
    this.#member = null;
    this.clients.upstreamPort = null;
    member.signal(signal);
    const timer = setTimeout(() => {
      this.#options.handlers.onTrouble(`${this.name}: it does not end within ${timeoutMs} ms of ${signal}`);
      member.signal("SIGKILL");
    }, timeoutMs);
    await member.exited;
    clearTimeout(timer);
  }

  beQuiet(): Promise<void> {
    return this.#member?.beQuiet() ?? Promise.resolve();
  }

  status(): Promise<unknown> {
    return this.#member?.status() ?? Promise.resolve("there is no process");
  }

  /** Never rejects. */
  async stop(): Promise<void> {
    await this.end("SIGKILL", 10_000);
    await this.redis?.close();
    await this.clients.close();
  }
}
