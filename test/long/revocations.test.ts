import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import { endWithTests } from "../support/end-with-tests.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import type { Message, Order } from "./revocations-app.js";

const APP = fileURLToPath(new URL("./revocations-app.js", import.meta.url));

const STREAMS_PER_APP = 250;
const USERS = 50;
const ROOMS = 10;

/** How long one process is cut off from Redis. */
const OUTAGE_MS = 10_000;

interface Stream {
  readonly client: SseClient;
  readonly user: string;
  readonly room: string;
  readonly id: string;
  isOver: boolean;
}

class App {
  readonly streams: Stream[] = [];
  readonly #child: ChildProcess;
  readonly #port: number;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.#port = port;
  }

  static async start(url: string): Promise<App> {
    const child = fork(APP, [url], { stdio: "inherit" });
    endWithTests(child);
    const [message] = (await once(child, "message")) as [Message];
    return new App(child, (message as { readonly port: number }).port);
  }

  connect(user: string, room: string): Promise<SseClient> {
    return openStream(`http://127.0.0.1:${this.#port}/stream?key=${user}&channel=${room}`);
  }

  async open(user: string, room: string): Promise<Stream> {
    const client = await this.connect(user, room);
    const connected = await client.next(({ event }) => event === "connected");
    const { sessionId: id } = JSON.parse(connected.data) as { sessionId: string };
    const stream: Stream = { client, user, room, id, isOver: false };
    void client.ended.then(() => (stream.isOver = true));
    this.streams.push(stream);
    return stream;
  }

  async revoke(...order: Order): Promise<{ readonly count: number; readonly tookMs: number }> {
    this.#child.send(order);
    const [answer] = (await once(this.#child, "message")) as [Message];
    return answer as { readonly count: number; readonly tookMs: number };
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  async kill(): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}

describe(`revoke() with four processes and ${4 * STREAMS_PER_APP} streams`, function () {
  this.timeout(90_000);
  let server: RedisServer;
  let proxy: TcpProxy;
  const apps: App[] = [];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
    proxy = await TcpProxy.start(server.port);
    for (const url of [server.url, server.url, server.url, proxy.url]) apps.push(await App.start(url));
    for (const app of apps) {
      for (let start = 0; start < STREAMS_PER_APP; start += 50) {
        const opening = Array.from({ length: 50 }, (_, index) =>
          app.open(`user${(start + index) % USERS}`, `room${(start + index) % ROOMS}`),
        );
        await Promise.all(opening);
      }
    }
  });

  after(async () => {
    await Promise.all(apps.map((app) => app.kill()));
    await proxy?.close();
    await server?.stop();
  });

  /** Waits until exactly the revoked streams of an app have ended, at most one second. */
  async function expectEnded(app: App, isRevoked: (stream: Stream) => boolean): Promise<void> {
    const revoked = app.streams.filter(isRevoked);
    await eventually(() => expect(revoked.filter(({ isOver }) => !isOver)).to.have.length(0), 1_000);
    for (const { client } of revoked)
      expect(client.events.at(-1)).to.include({ event: "closing", data: '{"reason":"revoked"}' });
    expect(app.streams.filter((stream) => stream.isOver && !isRevoked(stream))).to.have.length(0);
  }

  it("ends the streams of each process as soon as the process hears of it, and no other stream", async () => {
    const [caller, other, frozen, away] = apps as [App, App, App, App];
    const { count, tookMs } = await caller.revoke({ key: "user1" });
    expect(count).to.equal(20);
    expect(tookMs).to.be.lessThan(1_000);
    for (const app of apps) await expectEnded(app, ({ user }) => user === "user1");

    frozen.signal("SIGSTOP");
    proxy.refuse(true);
    proxy.cut();
    const cutAt = Date.now();
    // The server notices the end of the connections.
    await eventually(async () => expect(await server.receiversOf("sse:revocations")).to.equal(3));
    const session = frozen.streams.find(({ user }) => user === "user5")!;
    const calls: readonly (readonly [number, ...Order])[] = [
      [10, { key: "user2" }],
      [50, { channel: "room3" }],
      [10, { key: "user4" }, { forMs: 60_000 }],
      [0, { session: session.id }],
    ];
    for (const [expected, ...order] of calls) {
      const answer = await caller.revoke(...order);
      expect(answer.count, JSON.stringify(order)).to.equal(expected);
      // The frozen process does not answer.
      expect(answer.tookMs).to.be.within(900, 1_500);
    }
    const isRevoked = (stream: Stream): boolean =>
      ["user1", "user2", "user4"].includes(stream.user) || stream.room === "room3" || stream === session;
    for (const app of [caller, other]) await expectEnded(app, isRevoked);
    const later = await caller.open("user2", "room0");
    expect(await caller.connect("user4", "room0")).to.have.property("status", 403);

    frozen.signal("SIGCONT");
    await expectEnded(frozen, isRevoked);

    await eventually(() => expect(Date.now() - cutAt).to.be.greaterThan(OUTAGE_MS), OUTAGE_MS + 1_000);
    await expectEnded(away, ({ user }) => user === "user1");
    proxy.refuse(false);
    // The process can hear when both its connections are back. Each has its own pauses.
    await eventually(async () => {
      expect(await server.receiversOf("sse:revocations")).to.equal(4);
      const names = await server.connections();
      expect(names.filter((name) => name === "redis-sse:command")).to.have.length(4);
    });
    await expectEnded(away, isRevoked);

    for (const app of apps) {
      expect(await app.connect("user4", "room0")).to.have.property("status", 403);
      for (const user of ["user1", "user2"]) expect((await app.open(user, "room3")).isOver).to.equal(false);
    }
    expect(later.isOver).to.equal(false);
    const all = await caller.revoke({ channel: "room0" });
    expect(all.count).to.equal(101);
  });
});
