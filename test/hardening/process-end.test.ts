import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import type { RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { freePort, type RedisServer } from "../support/redis-server.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import type { Ending, Message, Order, Report } from "./process-end-app.js";

const APP = fileURLToPath(new URL("./process-end-app.js", import.meta.url));

const STREAMS = 500;

/** How long anything may take on a machine that does other things too. */
const PATIENCE_MS = 20_000;

/** How each way to end is told to a stream that is live. */
const ENDINGS: Readonly<Record<Ending, readonly string[]>> = {
  "close()": ["closing shutdown"],
  "close() twice at once, and again": ["closing shutdown"],
  "drain() twice at once, then close()": ["closing drain"],
  // Those whose moment had come already are told of the drain.
  "close() while drain() has a minute": ["closing drain", "closing shutdown"],
  "drain() during close(), and after it": ["closing shutdown"],
};

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(
    `the end of a process, ${subscriptions}`,
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

      it("comes with close(), of a service that was never used", async () => {
        const app = await start();
        await expectEnd(app, await app.end("close()"), rig.server);
      });

      for (const [how, words] of Object.entries(ENDINGS) as [Ending, readonly string[]][]) {
        // Which of its two promises is first is a matter of the service: one ending tells of the other mode.
        if (subscriptions === "dedicated" && how !== "close() while drain() has a minute") continue;
        it(`comes with ${how}, and every stream is told`, async () => {
          const app = await start();
          const streams = await app.openLive(5);
          await expectEnd(app, await app.end(how), rig.server);
          for (const stream of streams) expect(lastOf(stream)).to.be.oneOf(words);
        });
      }

      if (subscriptions === "shared") {
        it(`comes with close(), of ${STREAMS} live streams`, async () => {
          const app = await start();
          const streams = await app.openLive(STREAMS);
          const report = await app.end("close()");
          await expectEnd(app, report, rig.server);
          expect(report.closed).to.deep.equal({ shutdown: STREAMS });
          for (const stream of streams) expect(lastOf(stream)).to.equal("closing shutdown");
        });
      }

      it(`comes with close(), while ${STREAMS} streams are being set up`, async () => {
        const [resolving, leases] = [10, 50];
        const proxy = await rig.proxy();
        const app = await start({ redis: proxy.url, pool: { maxConnections: leases } });
        proxy.holdAt("subscribe");
        const opening = Array.from({ length: STREAMS }, (_, index) =>
          app.open(index < resolving ? "/resolving" : `/stream?channel=room:${index}`),
        );
        await eventually(async () => {
          const { requests, waiting } = await app.ask({ order: "count" }, "count");
          expect(requests).to.equal(STREAMS);
          expect(waiting).to.equal(subscriptions === "dedicated" ? STREAMS - resolving - leases : 0);
          expect(proxy.heldAt).to.equal(subscriptions === "dedicated" ? leases : 1);
        }, PATIENCE_MS);
        const report = await app.end("close()");
        proxy.release();
        await expectEnd(app, report, rig.server);
        expect(report.closed).to.deep.equal({ shutdown: STREAMS - resolving });
        expect(report.refused).to.deep.equal({ CLOSED: resolving });
        for (const stream of await Promise.all(opening)) await expectToldToComeBack(stream);
      });

      it(`comes with SIGTERM, of ${STREAMS} streams of which half are not live yet`, async () => {
        const half = STREAMS / 2;
        const proxy = await rig.proxy();
        const app = await start({ redis: proxy.url, pool: { maxConnections: half + 50 } });
        const live = await app.openLive(half);
        proxy.holdAt("subscribe");
        const opening = Array.from({ length: half }, (_, index) => app.open(`/stream?channel=late:${index}`));
        await eventually(async () => {
          const { requests, waiting } = await app.ask({ order: "count" }, "count");
          expect(requests).to.equal(half);
          expect(waiting).to.equal(subscriptions === "dedicated" ? half - 50 : 0);
          expect(proxy.heldAt).to.equal(subscriptions === "dedicated" ? 50 : 1);
        }, PATIENCE_MS);
        app.signal("SIGTERM");
        const report = await app.ended();
        proxy.release();
        // The drain has a second, and each stage of a teardown 300 ms; the rest is for a machine that is busy.
        expect(report.tookMs).to.be.lessThan(8_000);
        await expectEnd(app, report, rig.server);
        expect(report.closed).to.deep.equal({ drain: STREAMS });
        for (const stream of live) expect(lastOf(stream)).to.equal("closing drain");
        for (const stream of await Promise.all(opening)) await expectToldToComeBack(stream);
      });

      for (const where of ["onOpen", "until"] as const) {
        it(`comes with close() inside ${where}`, async () => {
          const app = await start();
          const others = await app.openLive(3);
          const stream = await app.open(`/close-in-${where}`);
          await expectEnd(app, await app.ended(), rig.server);
          for (const each of [stream, ...others]) {
            await each.ended;
            expect(lastOf(each)).to.equal("closing shutdown");
          }
        });
      }

      it("comes with close(), of a client that reads nothing while something waits for it", async () => {
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

      describe("comes with close() while Redis", () => {
        /** With streams, a worker that waits, and maybe another at a task. */
        async function busy(task = false): Promise<App> {
          const app = await start();
          await app.ask({ order: "work", task }, "working");
          await app.openLive(5);
          return app;
        }

        it("is well", async () => {
          const app = await busy(subscriptions === "shared");
          await app.ask({ order: "use" }, "used");
          await expectEnd(app, await app.end("close()"), rig.server);
          const ready = await rig.server.admin.zrange("sse:queue:{tasks}:busy:ready", "0", "-1");
          expect(ready, "the task that was given back, and the one that nobody took").to.have.length(
            subscriptions === "shared" ? 2 : 1,
          );
        });

        it("is down", async () => {
          const app = await busy();
          await rig.server.kill();
          await app.ask({ order: "use" }, "used");
          await expectEnd(app, await app.end("close()"), null, SHARED_CONNECTIONS);
        });

        it("answers nothing", async () => {
          const app = await busy();
          rig.server.signal("SIGSTOP");
          try {
            await app.ask({ order: "use" }, "used");
            await expectEnd(app, await app.end("close()"), null);
          } finally {
            rig.server.signal("SIGCONT");
          }
        });

        it("refuses every connection", async () => {
          await rig.server.admin.config("SET", "maxclients", 1);
          const app = await start();
          const opening = Array.from({ length: 20 }, () => app.open("/stream?channel=a"));
          await eventually(async () => {
            expect(await rig.server.rejectedConnections()).to.be.greaterThan(
              subscriptions === "shared" ? 1 : 19,
            );
            const { requests } = await app.ask({ order: "count" }, "count");
            expect(requests).to.equal(subscriptions === "shared" ? 20 : 0);
          }, PATIENCE_MS);
          await expectEnd(app, await app.end("close()"), rig.server, subscriptions === "shared" ? 1 : 0);
          for (const stream of await Promise.all(opening)) await expectToldToComeBack(stream);
        });

        it("was never reached", async () => {
          const app = await start({ redis: `redis://127.0.0.1:${await freePort()}` });
          const opening = app.open("/stream?channel=a");
          await eventually(async () => {
            const { requests } = await app.ask({ order: "count" }, "count");
            expect(requests).to.equal(subscriptions === "shared" ? 1 : 0);
          });
          await app.ask({ order: "use" }, "used");
          await expectEnd(app, await app.end("close()"), null, SHARED_CONNECTIONS);
          await expectToldToComeBack(await opening);
        });
      });
    },
    { timeoutMs: 60_000 },
  );
}

/** What ioredis sets of each connection that is dropped between two attempts: a timer of half a second. */
const SHARED_CONNECTIONS = 2;

/** Expects that the app holds nothing any more, and that nothing keeps it from ending. */
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
  const { tookMs, ...end } = await app.leave();
  expect(end).to.deep.equal({ exitCode: 0, signal: null, output: "" });
  expect(tookMs).to.be.lessThan(4_000);
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

/** The app in its process. */
class App {
  readonly #child: ChildProcess;
  readonly #messages: Message[] = [];
  readonly #exited: Promise<unknown>;
  readonly #streams: SseClient[] = [];
  #look: () => void = () => {};
  #output = "";
  #url = "";

  private constructor(options: RedisSseOptions) {
    this.#child = fork(APP, [JSON.stringify(options)], { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    this.#exited = once(this.#child, "exit");
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding("utf8").on("data", (chunk: string) => (this.#output += chunk));
    this.#child.on("message", (message: Message) => {
      this.#messages.push(message);
      this.#look();
    });
    this.#child.once("exit", () => this.#look());
  }

  static async start(options: RedisSseOptions): Promise<App> {
    const app = new App(options);
    const killWithTests = (): void => void app.kill();
    process.once("exit", killWithTests);
    app.#child.once("exit", () => process.off("exit", killWithTests));
    const { port } = await app.#next("listening");
    app.#url = `http://127.0.0.1:${port}`;
    return app;
  }

  get url(): string {
    return this.#url;
  }

  get streams(): readonly SseClient[] {
    return this.#streams;
  }

  /** Asks for a stream; resolves with its head. */
  async open(path: string): Promise<SseClient> {
    const stream = await openStream(this.#url + path);
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

  tell(order: Order): void {
    this.#child.send(order);
  }

  async ask<Type extends Message["type"]>(
    order: Order,
    type: Type,
  ): Promise<Extract<Message, { type: Type }>> {
    this.tell(order);
    return this.#next(type);
  }

  end(how: Ending): Promise<Report> {
    return this.ask({ order: "end", how }, "ended");
  }

  ended(): Promise<Report> {
    return this.#next("ended");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Lets go of the app, which then has to end by itself; resolves with how it did, and how long that took. */
  async leave(): Promise<{
    exitCode: number | null;
    signal: NodeJS.Signals | null;
    output: string;
    tookMs: number;
  }> {
    const startedAt = Date.now();
    this.tell({ order: "leave" });
    const timer = setTimeout(() => void this.kill(), PATIENCE_MS);
    await this.#exited;
    clearTimeout(timer);
    const { exitCode, signalCode } = this.#child;
    return { exitCode, signal: signalCode, output: this.#output, tookMs: Date.now() - startedAt };
  }

  async kill(): Promise<void> {
    for (const stream of this.#streams) stream.destroy();
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  /** The oldest message of a type that was not asked for yet. */
  #next<Type extends Message["type"]>(type: Type): Promise<Extract<Message, { type: Type }>> {
    return new Promise((resolve, reject) => {
      const finish = (how: () => void): void => {
        clearTimeout(timer);
        this.#look = () => {};
        how();
      };
      const timer = setTimeout(
        () => finish(() => reject(new Error(`the app did not say "${type}"; it printed: ${this.#output}`))),
        PATIENCE_MS,
      );
      this.#look = () => {
        const index = this.#messages.findIndex((message) => message.type === type);
        if (index >= 0) {
          const [found] = this.#messages.splice(index, 1);
          finish(() => resolve(found as Extract<Message, { type: Type }>));
        } else if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
          finish(() => reject(new Error(`the app has ended; it printed: ${this.#output}`)));
        }
      };
      this.#look();
    });
  }
}
