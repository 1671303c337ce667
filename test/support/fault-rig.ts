import { expect } from "chai";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import type { SseStreamOptions } from "../../middleware/express.js";
import { eventually, settle } from "./eventually.js";
import { FakeSink } from "./fake-sink.js";
import { need } from "./prerequisites.js";
import { RedisServer } from "./redis-server.js";
import { countResources, expectNoMoreResources } from "./resources.js";
import { startStreamApp, type StreamApp } from "./stream-app.js";
import { TcpProxy } from "./tcp-proxy.js";

/** Tools for fault tests. Everything created here is closed and checked after the test. */
export interface FaultRig {
  /** Path of `redis-server`, for tests that need another server. */
  readonly program: string;
  /** A server for this test only. */
  readonly server: RedisServer;
  /** A proxy to the server. It can cut or freeze connections. Created on first use. */
  proxy(): Promise<TcpProxy>;
  /** An app whose service uses the server, or the server given as `redis`. */
  start(options?: RedisSseOptions, stream?: SseStreamOptions): Promise<StreamApp>;
  /** A client without a socket. It disconnects after the test. */
  sink(): FakeSink;
  /** A service without an app, on the server, or on the server given as `redis`. */
  connect(options?: RedisSseOptions): RedisSse;
  /** Registers cleanup that runs after the test, before the checks. */
  undo(step: () => unknown): void;
}

export interface FaultOptions {
  /** Arguments of `redis-server`. */
  readonly server?: readonly string[];
  readonly timeoutMs?: number;
  /** Whether workers may still run at the end of a test. Then only the state after `close()` is checked. */
  readonly hasWorkers?: boolean;
}

/** Time limit for leftovers of a fault. On a refused connection, ioredis' own commands leave a timer of 5 s. */
const TRACES_MS = 12_000;

/**
 * A suite of fault tests. After each test, the rig checks that:
 *
 * - after its clients have left, the service has no session, lease or waiter; the server has no subscription, and
 * only the shared connections of each service;
 * - after its services are closed, the server has no connection, and this process has no additional sockets, timers
 * or listeners;
 * - the test caused no unhandled rejection, uncaught exception or listener warning (checked by the root hooks).
 */
export function describeFaults(
  title: string,
  define: (rig: FaultRig) => void,
  { server: args = [], timeoutMs = 30_000, hasWorkers = false }: FaultOptions = {},
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
      await settle(); // so that mocha's own timer of this hook is counted
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
        () => server.running && server.signal("SIGCONT"),
        () => failed || hasWorkers || expectNothingHeld(services, server),
        () => Promise.all(apps.splice(0).map((app) => app.close())),
        () => Promise.all(services.splice(0).map((service) => service.close())),
        () => failed || !server.running || expectNoConnections(server),
        () => proxy?.close(),
        () => server.stop(),
        () => failed || eventually(() => expectNoMore(untouched), TRACES_MS),
      ];
      const faults: unknown[] = [];
      for (const end of ends) {
        // A failed check must not stop the cleanup. Otherwise mocha would never exit.
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
      connect(options) {
        const service = createRedisSse({ redis: server.url, ...options });
        services.push(service);
        return service;
      },
      undo(step) {
        undoing.push(step);
      },
    });
  });
}

/** Waits until services without clients hold no resources of a stream. */
async function expectNothingHeld(services: readonly RedisSse[], server: RedisServer): Promise<void> {
  await eventually(async () => {
    for (const service of services) {
      const { sessions, channels, pool, hub, drift } = await service.status();
      expect(sessions.open, "open sessions").to.equal(0);
      expect(channels, "channels of sessions").to.deep.equal([]);
      expect(hub.channels, "channels of the hub").to.equal(0);
      expect(pool.leases, "leases").to.deep.equal([]);
      expect(pool, "pool").to.include({ inUse: 0, waiting: 0 });
      // Compares the service's counts with the server's counts. Not possible if the server is down.
      if (drift !== null) expect(drift, JSON.stringify(drift)).to.have.property("found", false);
    }
    if (!server.running) return;
    expect(await server.activeChannels(), "subscribed channels").to.deep.equal([]);
    // The name of a shared connection contains its service and its role. Each may exist only once.
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
  /** Number of listeners on the process. */
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
