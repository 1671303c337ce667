import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { countResources, expectNoMoreResources } from "../support/resources.js";
import { RedisServer } from "../support/redis-server.js";
import type { SseClient } from "../support/sse-client.js";
import { startStreamApp, type StreamApp } from "../support/stream-app.js";
import { codeOf, isConnected } from "../support/fault-steps.js";

const STREAMS = 200;
const MAX_CLIENTS = 60;

/** The incident behind this library: one connection per stream, and a server that allows too few connections. */
describe("200 dedicated streams on a Redis with maxclients 60", () => {
  let server: RedisServer;
  let app: StreamApp;

  before(async function () {
    server = await RedisServer.start(await need("redis", this), ["--maxclients", String(MAX_CLIENTS)]);
  });

  beforeEach(async () => {
    app = await startStreamApp({ redis: server.url, subscriptions: "dedicated" });
  });

  afterEach(() => app.close());

  after(() => server?.stop());

  const openMany = async (): Promise<readonly SseClient[]> => {
    const streams = await Promise.all(Array.from({ length: STREAMS }, () => app.open("a")));
    await Promise.all(
      streams.map((stream) => stream.next(({ event }) => event === "connected" || event === "error")),
    );
    return streams;
  };

  it("sends a retry delay to failed clients, retries nothing, and holds nothing after all clients have left", async () => {
    // Opens the service's command connection first.
    (await app.openLive("a")).destroy();
    await app.service.pool.incrementWithTtl("warm");
    await eventually(() => expect(app.service.pool.statistics.inUse).to.equal(0));
    const resources = countResources();
    const backToBaseline = await server.baseline();
    const streams = await openMany();
    const live = streams.filter((stream) => isConnected(stream.events[0]!));
    const failed = streams.filter((stream) => !live.includes(stream));
    expect(live.length).to.be.within(1, MAX_CLIENTS);
    for (const stream of failed) {
      await stream.ended;
      expect(stream.status).to.equal(200);
      expect(stream.retryMs).to.be.within(2_000, 4_000);
      expect(codeOf(stream)).to.equal("REDIS_UNAVAILABLE");
    }
    // Only the live streams hold a connection.
    expect(app.service.pool.statistics).to.deep.include({ inUse: live.length, waiting: 0 });
    await server.admin.publish("a", "still served");
    await Promise.all(live.map((stream) => stream.next(({ data }) => data === "still served")));

    const rejected = await server.rejectedConnections();
    expect(rejected).to.be.greaterThan(0);
    for (const stream of live) stream.destroy();
    await backToBaseline();
    expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
    await eventually(async () => {
      const { sessions } = await app.service.status();
      expect(sessions).to.deep.include({
        open: 0,
        closed: { "client-gone": live.length + 1, "subscribe-failed": failed.length },
      });
    });
    // A pending retry would be a timer or a connecting socket of this process, and each would create the next. For each
    // refused connection, ioredis keeps a command deadline of 5 s, which creates nothing.
    await eventually(() => expectNoMoreResources(resources), 10_000);
    await app.openLive("a");
    expect((await server.connections()).filter((name) => name === "redis-sse:lease")).to.have.length(1);
    expect(await server.rejectedConnections()).to.equal(rejected);
  });
});
