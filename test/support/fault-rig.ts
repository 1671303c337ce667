import { expect } from "chai";

import type { RedisSse, RedisSseOptions } from "../../lib/index.js";
import type { SseStreamOptions } from "../../middleware/express.js";
import { eventually, settle } from "./eventually.js";
import { FakeSink } from "./fake-sink.js";
import { need } from "./prerequisites.js";
import { RedisServer } from "./redis-server.js";
import { countResources, expectNoMoreResources } from "./resources.js";
import { startStreamApp, type StreamApp } from "./stream-app.js";
import { TcpProxy } from "./tcp-proxy.js";

/** What a test of a fault works with. Whatever it makes here is ended, and looked for afterwards. */
export interface FaultRig {
  /** The path of `redis-server`, for a test that needs one more. */
  readonly program: string;
  /** A server of this test's own. */
  readonly server: RedisServer;
  /** The way to the server, over which links can be cut or frozen; made with its first use. */
  proxy(): Promise<TcpProxy>;
  /** An app whose service is on the server, or wherever `redis` says. */
  start(options?: RedisSseOptions, stream?: SseStreamOptions): Promise<StreamApp>;
  /** A client without a socket, which leaves when the test is over. */
  sink(): FakeSink;
  /** A service that the test made by itself: the same is expected of it. */
  adopt<Service extends RedisSse>(service: Service): Service;
  /** What the test set up beside these, undone as soon as it is over, before anything is looked for. */
  undo(step: () => unknown): void;
}

export interface FaultOptions {
  /** Arguments of `redis-server`. */
  readonly server?: readonly string[];
  readonly timeoutMs?: number;
}

/** How long the last traces of a fault may take: ioredis' own commands on a connection that is refused leave a timer of 5 s. */
const TRACES_MS = 12_000;

/**
 * A suite of faults. Whatever a test provokes, these hold after it, or it has failed:
 *
 * - once its clients have left, no session, lease or waiter is left in the service, no channel is subscribed
 *   on the server, and of each service the server sees no more than its shared connections;
 * - once its services are closed, the server sees no connection, and this process has the sockets, timers
 *   and listeners that it had before;
 * - at no time was there an unhandled rejection, an uncaught exception, or a warning of too many listeners
 *   (the root hooks of every suite see to that).
 */
export function describeFaults(
  title: string,
  define: (rig: FaultRig) => void,
  { server: args = [], timeoutMs = 30_000 }: FaultOptions = {},
): void {
  describe(title, function () {
    this.timeout(timeoutMs);

    let program: string;
    let server: RedisServer;
    let proxy: TcpProxy | null = null;
    let untouched: Traces;
    const apps: StreamApp[] = [];
    const services: RedisSse[] = [];
    const sinks: FakeSink[] = [];
    const undoing: (() => unknown)[] = [];

    before(async function () {
      program = await need("redis", this);
    });

    beforeEach(async () => {
      await settle(); // mocha's own timer of this hook is one of them
      untouched = countTraces();
      server = await RedisServer.start(program, args);
    });

    afterEach("leaves nothing", async function () {
      this.timeout(60_000);
      const failed = this.currentTest?.state === "failed";
      for (const app of apps) app.leave();
      for (const sink of sinks) sink.leave();
      const ends = [
        () => Promise.all(undoing.splice(0).map((step) => step())),
        () => failed || expectNothingHeld(services, server),
        () => Promise.all(apps.splice(0).map((app) => app.close())),
        () => Promise.all(services.splice(0).map((service) => service.close())),
        () => failed || !server.running || expectNoConnections(server),
        () => proxy?.close(),
        () => server.stop(),
        () => failed || eventually(() => expectNoMore(untouched), TRACES_MS),
      ];
      const faults: unknown[] = [];
      for (const end of ends) {
        // What is found does not keep the rest from being ended: mocha would wait for it for ever.
        try {
          await end();
        } catch (error) {
          faults.push(error);
        }
      }
      sinks.length = 0;
      proxy = null;
      if (faults.length > 0) throw faults[0];
    });

    define({
      get program() {
        return program;
      },
      get server() {
        return server;
      },
      async proxy() {
        return (proxy ??= await TcpProxy.start(server.port));
      },
      async start(options = {}, stream = {}) {
        const app = await startStreamApp({ redis: server.url, ...options }, stream);
        apps.push(app);
        services.push(app.service);
        return app;
      },
      sink() {
        const sink = new FakeSink();
        sinks.push(sink);
        return sink;
      },
      adopt(service) {
        services.push(service);
        return service;
      },
      undo(step) {
        undoing.push(step);
      },
    });
  });
}

/** Waits until services without clients hold nothing of a stream any more. */
async function expectNothingHeld(services: readonly RedisSse[], server: RedisServer): Promise<void> {
  await eventually(async () => {
    for (const service of services) {
      const { sessions, channels, pool, hub, drift } = await service.status();
      expect(sessions.open, "open sessions").to.equal(0);
      expect(channels, "channels of sessions").to.deep.equal([]);
      expect(hub.channels, "channels of the hub").to.equal(0);
      expect(pool.leases, "leases").to.deep.equal([]);
      expect(pool, "pool").to.include({ inUse: 0, waiting: 0 });
      // By the service's own account against the server's; not known where the server is away.
      if (drift !== null) expect(drift, JSON.stringify(drift)).to.have.property("found", false);
    }
    if (!server.running) return;
    expect(await server.activeChannels(), "subscribed channels").to.deep.equal([]);
    // A shared connection bears the name of its service and its role, and each is there once.
    const ours = (await server.connectionNames()).filter((name) => name.startsWith("redis-sse:"));
    expect(ours.filter((name) => name.startsWith("redis-sse:lease"))).to.deep.equal([]);
    expect(ours, "connections left").to.deep.equal([...new Set(ours)]);
  }, TRACES_MS);
}

async function expectNoConnections(server: RedisServer): Promise<void> {
  await eventually(async () => expect(await server.connections()).to.deep.equal([]), TRACES_MS);
}

interface Traces {
  readonly resources: Readonly<Record<string, number>>;
  /** Listeners on the process itself. */
  readonly listeners: number;
}

function countTraces(): Traces {
  return { resources: countResources(), listeners: countListeners() };
}

function expectNoMore({ resources, listeners }: Traces): void {
  expectNoMoreResources(resources);
  expect(countListeners(), "listeners on the process").to.be.at.most(listeners);
}

function countListeners(): number {
  return process.eventNames().reduce((count, name) => count + process.listenerCount(name), 0);
}
