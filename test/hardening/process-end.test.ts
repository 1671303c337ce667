import { fork, type ChildProcess } from "node:child_process";
import { on, once } from "node:events";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import type { RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { RedisServer } from "../support/redis-server.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import type { TcpProxy } from "../support/tcp-proxy.js";
import type { Ending, Message, Order, Report } from "./process-end-app.js";

const APP = fileURLToPath(new URL("./process-end-app.js", import.meta.url));

const STREAMS = 500;

/** The timeout of each wait, for a busy machine. */
const PATIENCE_MS = 20_000;

/** The last event of a live stream, for each way to end. */
const ENDINGS: Readonly<Record<Ending, readonly string[]>> = {
  "close()": ["closing shutdown"],
  "close() twice at once, and again": ["closing shutdown"],
  "drain() twice at once, then close()": ["closing drain"],
  // Streams that drain() has already ended get the reason `drain`.
  "close() while drain() has a minute": ["closing drain", "closing shutdown"],
  "drain() during close(), and after it": ["closing shutdown"],
};

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(
    `a process that ends, ${subscriptions}`,
    (rig) => {
      const children: App[] = [];

      afterEach(() => Promise.all(children.splice(0).map((child) => child.kill())));

      async function start(options: RedisSseOptions = {}): Promise<App> {
        const child = await App.start({
          redis: rig.server.url,
          subscriptions,
          limits: { closeTimeoutMs: 300 },
          pool: { maxConnections: STREAMS },
          ...options,
        });
        children.push(child);
        return child;
      }

      for (const [how, words] of Object.entries(ENDINGS) as [Ending, readonly string[]][]) {
        // The order of drain() and close() does not depend on the mode, so one ending is enough for `dedicated`.
        if (subscriptions === "dedicated" && how !== "close() while drain() has a minute") continue;
        it(`exits after ${how}, and every stream gets the reason`, async () => {
          const app = await start();
          const streams = await app.openLive(5);
          const report = await app.end(how);
          await expectEnd(app, report, rig.server);
          for (const stream of streams) expect(lastOf(stream)).to.be.oneOf(words);
        });
      }

      /**
       * Resolves when this many streams are opening: some have sent SUBSCRIBE, and the others wait for a connection. `hearing` is 1 if
       * the connection that hears of revocations has sent SUBSCRIBE too.
       */
      async function untilSettingUp(
        app: App,
        proxy: TcpProxy,
        requests: number,
        leases: number,
        resolving = 0,
        hearing = 0,
      ) {
        const isDedicated = subscriptions === "dedicated";
        await eventually(async () => {
          const count = await app.ask({ order: "count" }, "count");
          expect(count).to.include({ requests, waiting: isDedicated ? requests - resolving - leases : 0 });
          expect(proxy.heldAt).to.equal(isDedicated ? leases + hearing : 1);
        }, PATIENCE_MS);
      }

      it(`exits after close() while ${STREAMS} streams are opening`, async () => {
        const [resolving, leases] = [10, 50];
        const proxy = await rig.proxy();
        const app = await start({ redis: proxy.url, pool: { maxConnections: leases } });
        proxy.holdAt("subscribe");
        const opening = Array.from({ length: STREAMS }, (_, index) =>
          app.open(index < resolving ? "/resolving" : `/stream?channel=room:${index}`),
        );
        await untilSettingUp(app, proxy, STREAMS, leases, resolving, 1);
        const report = await app.end("close()");
        proxy.release();
        await expectEnd(app, report, rig.server);
        expect(report.closed).to.deep.equal({ shutdown: STREAMS - resolving });
        expect(report.refused).to.deep.equal({ CLOSED: resolving });
        for (const stream of await Promise.all(opening)) await expectToldToComeBack(stream);
      });

      it(`exits after SIGTERM with ${STREAMS} streams, half of them still opening`, async () => {
        const [half, leases] = [STREAMS / 2, 50];
        const proxy = await rig.proxy();
        const app = await start({ redis: proxy.url, pool: { maxConnections: half + leases } });
        const live = await app.openLive(half);
        proxy.holdAt("subscribe");
        const opening = Array.from({ length: half }, (_, index) => app.open(`/stream?channel=late:${index}`));
        await untilSettingUp(app, proxy, half, leases);
        app.signal("SIGTERM");
        const report = await app.next("ended");
        proxy.release();
        await expectEnd(app, report, rig.server);
        expect(report.closed).to.deep.equal({ drain: STREAMS });
        for (const stream of live) expect(lastOf(stream)).to.equal("closing drain");
        for (const stream of await Promise.all(opening)) await expectToldToComeBack(stream);
      });

      for (const where of ["onOpen", "until"] as const) {
        it(`exits after close() inside ${where}`, async () => {
          const app = await start();
          const others = await app.openLive(3);
          const stream = await app.open(`/close-in-${where}`);
          await expectEnd(app, await app.next("ended"), rig.server);
          for (const each of [stream, ...others]) await each.ended;
          for (const each of others) expect(lastOf(each)).to.equal("closing shutdown");
          // `until` ends its own stream, perhaps before close() comes to this stream.
          const reasons =
            where === "until" ? ["closing shutdown", "closing completed"] : ["closing shutdown"];
          expect(reasons).to.include(lastOf(stream));
        });
      }

      it("exits after close() with a client that reads nothing and has buffered events", async () => {
        const app = await start({
          limits: { closeTimeoutMs: 300, maxBufferedBytes: 32 * 1024 * 1024 },
        });
        const socket = connect(Number(new URL(app.url).port), "127.0.0.1");
        try {
          socket.on("error", () => {});
          socket.pause();
          socket.write("GET /stream?channel=big HTTP/1.1\r\nHost: localhost\r\n\r\n");
          await eventually(async () => expect(await rig.server.receiversOf("big")).to.equal(1), PATIENCE_MS);
          for (let count = 0; count < 100; count++)
            await app.ask({ order: "publish", channel: "big", bytes: 100_000 }, "published");
          const report = await app.end("close()");
          await expectEnd(app, report, rig.server);
          expect(report.closed).to.deep.equal({ shutdown: 1 });
        } finally {
          socket.destroy();
        }
      });

      describe("after close()", () => {
        /** An app with streams, an idle worker and, if `task` is set, a busy one. */
        async function busy(task = false): Promise<App> {
          const app = await start();
          await app.ask({ order: "work", task }, "working");
          await app.openLive(5);
          return app;
        }

        it("exits while Redis works normally", async () => {
          const app = await busy(subscriptions === "shared");
          await app.ask({ order: "use" }, "used");
          await expectEnd(app, await app.end("close()"), rig.server);
          const ready = await rig.server.admin.zrange("sse:queue:{tasks}:busy:ready", "0", "-1");
          expect(ready, "the returned task, and the new task").to.have.length(
            subscriptions === "shared" ? 2 : 1,
          );
        });

        it("exits while Redis is down", async () => {
          const app = await busy();
          await rig.server.kill();
          await app.ask({ order: "use" }, "used");
          await expectEnd(app, await app.end("close()"), null, SHARED_CONNECTIONS);
        });

        it("exits while Redis does not respond", async () => {
          const app = await busy();
          rig.server.signal("SIGSTOP");
          try {
            await app.ask({ order: "use" }, "used");
            await expectEnd(app, await app.end("close()"), null);
          } finally {
            rig.server.signal("SIGCONT");
          }
        });

        it("exits while Redis refuses every connection", async () => {
          await rig.server.admin.config("SET", "maxclients", 1);
          const app = await start();
          const opening = Array.from({ length: 20 }, () => app.open("/stream?channel=a"));
          // Each connection was refused, and the shared one has retried.
          const least = subscriptions === "shared" ? 2 : 20;
          await eventually(async () => {
            expect(await rig.server.rejectedConnections()).to.be.at.least(least);
            const { requests } = await app.ask({ order: "count" }, "count");
            expect(requests).to.equal(subscriptions === "shared" ? 20 : 0);
          }, PATIENCE_MS);
          await expectEnd(app, await app.end("close()"), rig.server, subscriptions === "shared" ? 1 : 0);
          for (const stream of await Promise.all(opening)) await expectToldToComeBack(stream);
        });
      });
    },
    { timeoutMs: 60_000 },
  );
}

/** ioredis keeps one timer of half a second for each connection that is dropped between two attempts. */
const SHARED_CONNECTIONS = 2;

/** Expects that the app holds nothing and that it exits by itself. */
async function expectEnd(
  app: App,
  report: Report,
  server: RedisServer | null,
  timersOfIoredis = 0,
): Promise<void> {
  expect(report.unsettled, "promises that are not settled").to.deep.equal([]);
  expect(report.held, "held").to.deep.equal({
    sessions: 0,
    leases: 0,
    waiting: 0,
    channels: 0,
    command: 0,
    subscriber: 0,
    lease: 0,
  });
  const { Timeout: timers = 0, ...sockets } = report.resources;
  expect(sockets, "sockets").to.deep.equal({});
  expect(timers, "timers").to.be.at.most(timersOfIoredis);
  if (server !== null)
    await eventually(async () => expect(await server.connections()).to.deep.equal([]), PATIENCE_MS);
  expect(await app.leave()).to.deep.equal({ exitCode: 0, signal: null, output: "" });
}

async function expectToldToComeBack(stream: SseClient): Promise<void> {
  await stream.ended;
  expect(stream.status).to.equal(200);
  expect(stream.retryMs).to.be.greaterThan(0);
  expect(stream.events).to.have.length(1);
  expect(lastOf(stream)).to.match(/^error (CLOSED|REDIS_UNAVAILABLE)$/);
}

/** The last event of a stream, with its reason or code. */
function lastOf(stream: SseClient): string {
  const { event = "", data = "{}" } = stream.events.at(-1) ?? {};
  const { reason, code } = JSON.parse(data) as { reason?: string; code?: string };
  return `${event} ${reason ?? code ?? ""}`;
}

/** The app in a child process. */
class App {
  readonly #child: ChildProcess;
  readonly #messages: AsyncIterator<[Message]>;
  readonly #exited: Promise<unknown>;
  readonly #streams: SseClient[] = [];
  #output = "";
  url = "";

  private constructor(options: RedisSseOptions) {
    this.#child = fork(APP, [JSON.stringify(options)], { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    this.#messages = on(this.#child, "message", { close: ["exit"] }) as AsyncIterator<[Message]>;
    this.#exited = once(this.#child, "exit");
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding("utf8").on("data", (chunk: string) => (this.#output += chunk));
    const killWithTests = (): void => void this.kill();
    process.once("exit", killWithTests);
    this.#child.once("exit", () => process.off("exit", killWithTests));
  }

  static async start(options: RedisSseOptions): Promise<App> {
    const app = new App(options);
    app.url = `http://127.0.0.1:${(await app.next("listening")).port}`;
    return app;
  }

  /** Opens a stream and resolves with its response headers. */
  async open(path: string): Promise<SseClient> {
    const stream = await openStream(this.url + path);
    this.#streams.push(stream);
    return stream;
  }

  async openLive(count: number): Promise<readonly SseClient[]> {
    return Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const stream = await this.open(`/stream?channel=room:${index % 50}`);
        await stream.next(({ event }) => event === "connected", PATIENCE_MS);
        return stream;
      }),
    );
  }

  ask<Type extends Message["type"]>(order: Order, type: Type): Promise<Extract<Message, { type: Type }>> {
    this.#child.send(order);
    return this.next(type);
  }

  end(how: Ending): Promise<Report> {
    return this.ask({ order: "end", how }, "ended");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Disconnects from the app, which must then exit by itself. Resolves with its exit code, signal and output. */
  async leave(): Promise<{ exitCode: number | null; signal: NodeJS.Signals | null; output: string }> {
    this.#child.send({ order: "leave" } satisfies Order);
    const timer = setTimeout(() => void this.kill(), PATIENCE_MS);
    await this.#exited;
    clearTimeout(timer);
    const { exitCode, signalCode } = this.#child;
    // The service's log lines about Redis do not matter here.
    return { exitCode, signal: signalCode, output: this.#output.replace(/^redis-sse: .*\n/gm, "") };
  }

  async kill(): Promise<void> {
    for (const stream of this.#streams) stream.destroy();
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  /** The next message of the app. */
  async next<Type extends Message["type"]>(type: Type): Promise<Extract<Message, { type: Type }>> {
    const { value, done } = await this.#messages.next();
    if (done) throw new Error(`the app has ended; it printed: ${this.#output}`);
    const [message] = value;
    expect(message.type).to.equal(type);
    return message as Extract<Message, { type: Type }>;
  }
}
