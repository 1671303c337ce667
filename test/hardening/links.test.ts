import { expect } from "chai";

import type { RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { createRandom } from "../support/random.js";
import { RedisServer } from "../support/redis-server.js";
import { startStreamApp, type StreamApp } from "../support/stream-app.js";
import { TcpProxy } from "../support/tcp-proxy.js";

describe("faults of the link to Redis", function () {
  this.timeout(40_000);

  let server: RedisServer;
  let proxy: TcpProxy;
  const apps: StreamApp[] = [];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  beforeEach(async () => {
    proxy = await TcpProxy.start(server.port);
  });

  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
    await proxy.close();
    await eventually(async () => expect(await server.connections()).to.deep.equal([]));
  });

  after(() => server?.stop());

  async function start(options: RedisSseOptions = {}): Promise<StreamApp> {
    const app = await startStreamApp({ redis: proxy.url, ...options });
    apps.push(app);
    return app;
  }

  it("shared: notices a link that is dead but looks open, and comes back over a new one", async () => {
    const app = await start({ heartbeatMs: 200 });
    const client = await app.openLive("a");
    proxy.hold();
    // The stream itself goes on meanwhile: its client hears heartbeats, and nobody ends it.
    await eventually(() => expect(client.comments.length).to.be.greaterThan(5));
    // The old link is given up, and a new one tried, which hangs in its handshake as well.
    const before = proxy.accepted;
    await eventually(() => expect(proxy.accepted).to.be.greaterThan(before + 1), 20_000);
    proxy.release();
    await client.next(({ event }) => event === "gap", 20_000);
    await server.admin.publish("a", "again");
    await client.next(({ data }) => data === "again");
    expect((await app.service.status()).sessions.closed).to.deep.equal({});
  });

  it("shared: subscribes again when the link is cut before SUBSCRIBE is heard", async () => {
    const app = await start();
    const client = await app.openLive("a");
    proxy.cutAt("subscribe");
    proxy.cut();
    await client.next(({ event }) => event === "gap", 10_000);
    expect(proxy.cutPending).to.equal(false);
    await server.admin.publish("a", "again");
    await client.next(({ data }) => data === "again");
    expect(await server.receiversOf("a")).to.equal(1);
  });

  it("shared: backs off while Redis refuses it, and tries with one connection for all streams", async () => {
    const app = await start();
    const clients = await Promise.all(
      Array.from({ length: 50 }, (_, index) => app.openLive(`room:${index}`)),
    );
    const before = proxy.accepted;
    proxy.refuse(true);
    proxy.cut();
    await eventually(() => expect(proxy.accepted).to.be.greaterThan(before + 4), 20_000);
    const startedAt = Date.now();
    const tried = proxy.accepted;
    await eventually(() => expect(proxy.accepted).to.be.greaterThan(tried + 2), 20_000);
    // Three further tries, of one connection, at pauses that have grown.
    expect(Date.now() - startedAt).to.be.greaterThan(500);
    proxy.refuse(false);
    await Promise.all(clients.map((client) => client.next(({ event }) => event === "gap", 10_000)));
  });

  it("dedicated: a server that accepts and says nothing costs a stream its deadline, and nothing is held", async () => {
    const app = await start({ subscriptions: "dedicated", pool: { acquireTimeoutMs: 300 } });
    proxy.hold();
    const clients = await Promise.all([app.open("a"), app.open("b"), app.open("c")]);
    await Promise.all(clients.map((client) => client.ended));
    for (const client of clients) expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
    expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
    const tried = proxy.accepted;
    proxy.release();
    const next = await app.openLive("a");
    expect(proxy.accepted).to.equal(tried + 1);
    next.destroy();
  });

  it("end state equals what is wanted after the subscriber was killed again and again under joins and leaves", async () => {
    const app = await start();
    const kept = await Promise.all(Array.from({ length: 8 }, (_, index) => app.openLive(`room:${index}`)));
    const seed = Date.now() % 1_000_000;
    const random = createRandom(seed);
    for (let round = 0; round < 20; round++) {
      const joining = Array.from({ length: 10 }, (_, index) => app.open(`room:${(round + index) % 8}`));
      await server.killSubscribers();
      for (const client of await Promise.all(joining)) {
        if (random() < 0.7) client.destroy();
      }
    }
    await eventually(async () => {
      await Promise.all(
        kept.map(async (_, index) =>
          expect(await server.receiversOf(`room:${index}`), `seed ${seed}`).to.equal(1),
        ),
      );
    }, 15_000);
    for (const [index, client] of kept.entries()) {
      await server.admin.publish(`room:${index}`, `last ${index}`);
      await client.next(({ data }) => data === `last ${index}`);
    }
  });
});
