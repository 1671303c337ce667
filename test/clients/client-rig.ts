import type { AddressInfo } from "node:net";

import { expect } from "chai";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream, type SseStreamOptions } from "../../middleware/express.js";
import { eventually } from "../support/eventually.js";
import { RedisServer } from "../support/redis-server.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { startApp } from "../support/test-app.js";
import type { ClientUnderTest, Connection } from "./client-under-test.js";

/** Short, so that a test of a reconnect is fast. */
const RETRY_MS = 10;

/** Every acknowledged event survives a crash of this Redis. */
const DURABLE = ["--appendonly", "yes", "--appendfsync", "always"];

export interface StreamRequest {
  readonly channel: string;
  /** Empty if the client sent none. */
  readonly lastEventId: string;
}

/** One process of the app: an HTTP server with its own service. */
export interface StreamServer {
  readonly port: number;
  readonly service: RedisSse;
  readonly requests: readonly StreamRequest[];
  /** Stops listening. Open streams continue. */
  stopListening(): void;
  /** Destroys all connections without a `closing` event, as a crash does. */
  crash(): Promise<void>;
}

export interface ServeOptions {
  readonly port?: number;
  readonly heartbeatMs?: number;
  readonly subscribeTimeoutMs?: number;
  readonly stream?: SseStreamOptions;
  /** A channel for which the server answers 403. */
  readonly forbidden?: string;
}

/** A real Redis, and the app processes, proxies and connections of one test. */
export class ClientRig {
  readonly redis: RedisServer;
  /** Publishes from another process of the app. */
  readonly publisher: RedisSse;
  readonly #client: ClientUnderTest;
  readonly #servers: StreamServer[] = [];
  readonly #proxies: TcpProxy[] = [];
  readonly #connections: Connection[] = [];

  private constructor(redis: RedisServer, client: ClientUnderTest) {
    this.redis = redis;
    this.publisher = createRedisSse({ redis: redis.url });
    this.#client = client;
  }

  static async start(program: string, client: ClientUnderTest): Promise<ClientRig> {
    return new ClientRig(await RedisServer.start(program, DURABLE), client);
  }

  async serve(options: ServeOptions = {}): Promise<StreamServer> {
    const { port = 0, heartbeatMs = 15_000, subscribeTimeoutMs = 5_000, stream = {}, forbidden } = options;
    const service = createRedisSse({
      redis: this.redis.url,
      retryMs: RETRY_MS,
      heartbeatMs,
      limits: { subscribeTimeoutMs },
    });
    const requests: StreamRequest[] = [];
    const app = await startApp((router) => {
      this.#client.mount?.(router);
      router.get("/stream", (req, _res, next) => {
        const { "last-event-id": id = "" } = req.headers;
        requests.push({ channel: req.query["channel"] as string, lastEventId: String(id) });
        next();
      });
      router.get(
        "/stream",
        sseStream(({ query }) => (query["channel"] === forbidden ? null : (query["channel"] as string)), {
          service,
          ...stream,
        }),
      );
    }, port);
    const server: StreamServer = {
      port: (app.server.address() as AddressInfo).port,
      service,
      requests,
      stopListening: () => void app.server.close(),
      async crash() {
        app.server.closeAllConnections();
        await app.close();
        await service.close();
      },
    };
    this.#servers.push(server);
    return server;
  }

  /** Starts a proxy between the client and this server. */
  async proxyTo(server: StreamServer): Promise<TcpProxy> {
    const proxy = await TcpProxy.start(server.port);
    this.#proxies.push(proxy);
    return proxy;
  }

  /** Connects the client. */
  async request(port: number, channel: string): Promise<Connection> {
    const connection = await this.#client.connect(`http://127.0.0.1:${port}/stream?channel=${channel}`);
    this.#connections.push(connection);
    return connection;
  }

  /** Connects the client and waits for `connected`. */
  async connect(port: number, channel: string): Promise<Connection> {
    const connection = await this.request(port, channel);
    await eventually(() => expect(connection.events.map(({ type }) => type)).to.include("connected"));
    return connection;
  }

  /** Publishes `update` events one after another. Resolves when all are acknowledged. */
  async publish(channel: string, ...updates: readonly string[]): Promise<void> {
    for (const data of updates) await this.publisher.publish(channel, { event: "update", data });
  }

  /** Ends everything of one test. A client that was closed must leave no session behind. */
  async reset(): Promise<void> {
    await Promise.all(this.#connections.splice(0).map((connection) => connection.close()));
    const servers = this.#servers.splice(0);
    try {
      for (const { service } of servers) {
        await eventually(async () => expect((await service.status()).sessions.open).to.equal(0));
      }
    } finally {
      await Promise.all(servers.map((server) => server.crash()));
      await Promise.all(this.#proxies.splice(0).map((proxy) => proxy.close()));
      if (!this.redis.running) await this.redis.boot();
    }
  }

  async stop(): Promise<void> {
    await this.publisher.close();
    await this.redis.stop();
  }
}
