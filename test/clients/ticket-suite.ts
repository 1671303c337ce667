import type { AddressInfo } from "node:net";

import { expect } from "chai";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream, ticketResolver } from "../../middleware/express.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { startApp, type TestApp } from "../support/test-app.js";
import type { ClientUnderTest, Connection } from "./client-under-test.js";

const RECONNECT_MS = 1_000;

/** Tests that one client can use a ticket, and no other client that knows the URL. */
export function describeTickets(client: ClientUnderTest): void {
  describe(`a ticket with ${client.name}`, function () {
    this.timeout(30_000);

    let redis: RedisServer;
    let service: RedisSse;
    let app: TestApp;
    let proxy: TcpProxy;
    const connections = new Set<Connection>();

    before(async function () {
      redis = await RedisServer.start(await need("redis", this));
      service = createRedisSse({ redis: redis.url, retryMs: 10 });
      app = await startApp((router) => {
        client.mount?.(router);
        router.get("/events", sseStream(ticketResolver({ service, reconnectMs: RECONNECT_MS }), { service }));
      });
      proxy = await TcpProxy.start((app.server.address() as AddressInfo).port);
    });

    after(async () => {
      for (const connection of connections) await close(connection);
      await service?.close();
      await proxy?.close();
      await app?.close();
      await redis?.stop();
    });

    async function connect(url: string): Promise<Connection> {
      const connection = await client.connect(url);
      connections.add(connection);
      return connection;
    }

    async function close(connection: Connection): Promise<void> {
      connections.delete(connection);
      await connection.close();
    }

    async function expectRefused(url: string): Promise<void> {
      const stranger = await connect(url);
      await eventually(() => expect(stranger.closed).to.equal(true));
      expect(stranger.events).to.deep.equal([]);
      await close(stranger);
      const { status } = await fetch(url);
      expect(status).to.equal(401);
    }

    const updatesOf = ({ events }: Connection): readonly string[] =>
      events.filter(({ type }) => type === "update").map(({ data }) => data);

    const publish = (data: string): Promise<unknown> => service.publish("a", { event: "update", data });

    it("lets this client reconnect by itself without loss, and refuses every other client with the same URL", async () => {
      const ticket = await service.tickets.issue({ channels: "a" });
      const url = `http://127.0.0.1:${proxy.port}/events?ticket=${ticket}`;
      const connection = await connect(url);
      await eventually(() => expect(connection.events.map(({ type }) => type)).to.include("connected"));
      await publish("1");
      await eventually(() => expect(updatesOf(connection)).to.deep.equal(["1"]));
      await expectRefused(url);

      // The server cannot know yet that the old connection is dead.
      proxy.hold();
      await publish("2");
      proxy.release();
      proxy.cut();
      await publish("3");
      await eventually(() => expect(updatesOf(connection)).to.deep.equal(["1", "2", "3"]));
      expect(connection.events.map(({ type }) => type)).not.to.include("gap");
      await expectRefused(url);

      await close(connection);
      await eventually(async () => expect((await service.status()).sessions.open).to.equal(0));
      await expectRefused(url);
      await eventually(async () => expect(await redis.admin.keys("sse:ticket:*")).to.deep.equal([]));
      await expectRefused(url);
    });
  });
}
