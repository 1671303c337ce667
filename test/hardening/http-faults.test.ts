import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { expect } from "chai";
import express from "express";

import { sseStream } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { getRequest, openWire, untilNobodyIsConnected, type WireClient } from "../support/wire-client.js";
import { expectEveryNumber, publishNumbers } from "../support/sequence.js";
import { openStream } from "../support/sse-client.js";
import { TcpProxy } from "../support/tcp-proxy.js";

const isConnected = ({ event }: { event: string }): boolean => event === "connected";

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(`faults of a stream's client, ${subscriptions}`, (rig) => {
    const LEAVING: Readonly<Record<string, (client: WireClient) => void>> = {
      "with a FIN alone": ({ socket }) => socket.end(),
      "with a RST": ({ socket }) => socket.resetAndDestroy(),
      "without reading what came": ({ socket }) => socket.pause().destroy(),
    };
    for (const [how, leave] of Object.entries(LEAVING)) {
      it(`a client that leaves ${how} is gone, and no write error`, async () => {
        const { app, service, openLive } = await rig.start({ subscriptions });
        const other = await openLive("a");
        const client = await openWire(app.url, getRequest("/stream?channel=a"));
        await client.until("event: connected");
        leave(client);
        await client.closed;
        await eventually(async () => {
          expect((await service.status()).sessions).to.deep.include({
            open: 1,
            closed: { "client-gone": 1 },
          });
        });
        await rig.server.admin.publish("a", "still here");
        await other.next(({ data }) => data === "still here");
      });
    }

    it("for a client that leaves while its resolver works Redis is not even connected to", async () => {
      const { app, service } = await rig.start({ subscriptions });
      const reached = deferred();
      const answer = deferred<string>();
      const resolver = (): Promise<string> => {
        reached.resolve();
        return answer.promise;
      };
      app.app.get("/slow", sseStream(resolver, { service }));
      const client = await openWire(app.url, getRequest("/slow"));
      await reached.promise;
      client.socket.destroy();
      await untilNobodyIsConnected(app.server);
      answer.resolve("late");
      await settle();
      expect(await rig.server.connections()).to.deep.equal([]);
      expect(await rig.server.callsOf("subscribe")).to.equal(0);
      expect((await service.status()).sessions.opened).to.equal(0);
    });

    const UNREAD: Readonly<Record<string, (client: WireClient) => void>> = {
      "with a FIN alone": LEAVING["with a FIN alone"]!,
      "with a RST": LEAVING["with a RST"]!,
    };
    for (const [how, leave] of Object.entries(UNREAD)) {
      it(`a client that leaves ${how} is noticed at once, even if no handler read its body`, async () => {
        const { app, service } = await rig.start({ subscriptions });
        const head = getRequest("/stream?channel=a").replace(
          "\r\n\r\n",
          "\r\nContent-Length: 300000\r\n\r\n",
        );
        const client = await openWire(app.url, head + "x".repeat(300_000));
        await client.until("event: connected");
        leave(client);
        await eventually(async () => {
          expect((await service.status()).sessions).to.deep.include({
            open: 0,
            closed: { "client-gone": 1 },
          });
        });
      });
    }

    it("a POST whose body was read stays open past the request's close, until its client leaves", async () => {
      const { app, service } = await rig.start({ subscriptions });
      const over = deferred();
      app.app.post(
        "/posted",
        express.json(),
        sseStream((req) => (req.body as { channel: string }).channel, {
          service,
          onOpen: (_, req) => {
            if (req.closed) over.resolve();
            else req.once("close", () => over.resolve());
          },
        }),
      );
      const client = await openStream(`${app.url}/posted`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ channel: "posted" }),
      });
      await client.next(isConnected);
      await over.promise;
      await settle();
      expect((await service.status()).sessions).to.deep.include({ open: 1, closed: {} });
      await rig.server.admin.publish("posted", "after the close");
      await client.next(({ data }) => data === "after the close");
      client.destroy();
      await eventually(async () => {
        expect((await service.status()).sessions).to.deep.include({ open: 0, closed: { "client-gone": 1 } });
      });
    });

    it("half a request makes no session, whether its client leaves or waits for its deadline", async () => {
      const { app, service } = await rig.start({ subscriptions });
      const half = getRequest("/stream?channel=a").slice(0, -2);
      const leaving = await openWire(app.url, half);
      leaving.socket.destroy();
      await untilNobodyIsConnected(app.server);
      // Node looks at its deadlines every 30 s, where nothing else is said.
      const strict = createServer({ headersTimeout: 50, connectionsCheckingInterval: 20 }, app.app).listen(0);
      await once(strict, "listening");
      rig.undo(() => strict.close());
      const url = `http://127.0.0.1:${(strict.address() as AddressInfo).port}`;
      const waiting = await openWire(url, half);
      await waiting.closed;
      expect(waiting.statuses).to.deep.equal([408]);
      expect((await service.status()).sessions).to.deep.include({ opened: 0, refused: {} });
      expect(await rig.server.callsOf("subscribe")).to.equal(0);
    });

    it("a client that comes back at once, a hundred times, leaves nothing behind and is served the last time", async () => {
      const { app, service, openLive } = await rig.start({ subscriptions });
      for (let round = 0; round < 100; round++) {
        const client = await openWire(app.url, getRequest("/stream?channel=again"));
        // Every other time it does not wait for the stream.
        if (round % 2 === 0) await eventually(() => expect(client.statuses).to.deep.equal([200]));
        client.socket.destroy();
      }
      await untilNobodyIsConnected(app.server);
      const last = await openLive("again");
      await rig.server.admin.publish("again", "served");
      await last.next(({ data }) => data === "served");
      await eventually(async () => {
        const { sessions, pool } = await service.status();
        expect(sessions.open).to.equal(1);
        expect(Object.keys(sessions.closed)).to.deep.equal(["client-gone"]);
        expect(pool.inUse).to.equal(subscriptions === "dedicated" ? 1 : 0);
      });
    });

    it("heartbeats keep a stream through a proxy that cuts idle links, and without them it is cut", async () => {
      const idleMs = 300;
      const quiet = await rig.start({ subscriptions, heartbeatMs: 60_000 });
      const beating = await rig.start({ subscriptions, heartbeatMs: 50 });
      const proxies = await Promise.all(
        [quiet, beating].map(({ app }) => TcpProxy.start(Number(new URL(app.url).port))),
      );
      for (const proxy of proxies) {
        rig.undo(() => proxy.close());
        proxy.cutIdle(idleMs);
      }
      const [cut, kept] = await Promise.all(
        proxies.map(({ port }) => openStream(`http://127.0.0.1:${port}/stream?channel=quiet`)),
      );
      await Promise.all([cut, kept].map((client) => client!.next(isConnected)));
      const startedAt = performance.now();
      await cut!.ended;
      // Nothing but heartbeats passes for three times as long as the proxy bears silence.
      await eventually(() => expect(performance.now() - startedAt).to.be.greaterThan(3 * idleMs));
      expect(kept!.events).to.have.length(1);
      await rig.server.admin.publish("quiet", "still here");
      await kept!.next(({ data }) => data === "still here");
      kept!.destroy();
      await eventually(async () => {
        expect((await quiet.service.status()).sessions.closed).to.deep.equal({ "client-gone": 1 });
      });
    });

    it("what is published while SUBSCRIBE is on its way comes after `connected`, in order and without a hole", async () => {
      const { open } = await rig.start({ subscriptions });
      const { admin } = rig.server;
      let published = 0;
      const over = new AbortController();
      const loop = (async () => {
        while (!over.signal.aborted) await admin.publish("busy", String(published++));
      })();
      try {
        await eventually(() => expect(published).to.be.greaterThan(10));
        const streams = await Promise.all(Array.from({ length: 20 }, () => open("busy")));
        await Promise.all(streams.map((stream) => stream.next(isConnected)));
        await eventually(() => {
          for (const { events } of streams) expect(events.length).to.be.greaterThan(100);
        }, 15_000);
        for (const { events } of streams) {
          const [first, ...rest] = events;
          expect(first).to.have.property("event", "connected");
          const numbers = rest.map(({ data }) => Number(data));
          expect(numbers).to.deep.equal(numbers.map((_, index) => numbers[0]! + index));
        }
      } finally {
        over.abort();
        await loop;
      }
    });

    it("of 20 that join a denied channel at once each is told once, and a later one hears it once it is granted", async () => {
      await rig.server.admin.acl("SETUSER", "app", "on", ">pw", "allcommands", "allkeys", "resetchannels");
      const { service, open, openLive } = await rig.start({
        subscriptions,
        redis: `redis://app:pw@127.0.0.1:${rig.server.port}`,
      });
      const clients = await Promise.all(Array.from({ length: 20 }, () => open("secret")));
      await Promise.all(clients.map((client) => client.ended));
      for (const { status, events } of clients) {
        expect(status).to.equal(200);
        expect(events.map(({ event }) => event)).to.deep.equal(["error"]);
        expect(JSON.parse(events[0]!.data)).to.have.property("code", "SUBSCRIBE_REFUSED");
      }
      await eventually(async () => {
        const { sessions, hub, pool, channels } = await service.status();
        expect(sessions).to.deep.include({ open: 0, closed: { "subscribe-failed": 20 } });
        expect(hub).to.deep.include({ channels: 0, subscribed: 0 });
        expect(pool).to.deep.include({ inUse: 0, waiting: 0 });
        expect(channels).to.deep.equal([]);
      });
      await rig.server.admin.acl("SETUSER", "app", "&secret");
      const later = await openLive("secret");
      await rig.server.admin.publish("secret", "granted");
      await later.next(({ data }) => data === "granted");
      expect(await rig.server.receiversOf("secret")).to.equal(1);
    });
  });
}

describeFaults("faults of a client that waits for a connection", (rig) => {
  it("one that leaves is taken from the queue, and the place goes to the next", async () => {
    const { app, service, open, openLive } = await rig.start({
      subscriptions: "dedicated",
      pool: { maxConnections: 1, acquireTimeoutMs: 15_000 },
    });
    const first = await openLive("a");
    const leaving = await openWire(app.url, getRequest("/stream?channel=b"));
    await eventually(() => expect(service.pool.statistics.waiting).to.equal(1));
    const next = open("c");
    await eventually(() => expect(service.pool.statistics.waiting).to.equal(2));
    leaving.socket.destroy();
    await eventually(() => expect(service.pool.statistics).to.deep.include({ inUse: 1, waiting: 1 }));
    first.destroy();
    await (await next).next(isConnected);
    expect(service.pool.statistics).to.deep.include({ inUse: 1, waiting: 0, available: 0 });
    expect(await rig.server.receiversOf("b")).to.equal(0);
    expect((await service.status()).sessions).to.deep.include({ open: 1, closed: { "client-gone": 2 } });
  });
});

describeFaults("faults of Redis by RESP2", (rig) => {
  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: a lost connection is told, and what comes after it is heard`, async () => {
      const { service, openLive } = await rig.start({
        subscriptions,
        redis: { host: "127.0.0.1", port: rig.server.port, protocol: 2 },
        heartbeatMs: 50,
        history: subscriptions === "shared" ? false : {},
      });
      const client = await openLive("a");
      const before = client.comments.length;
      await eventually(() => expect(client.comments.length).to.be.greaterThan(before + 2)); // as many PINGs
      const list = String(await rig.server.admin.client("LIST"));
      expect(list).to.match(/ name=redis-sse:(subscriber|lease):\S+ /);
      // Redis 6.2 does not tell.
      if (list.includes(" resp=")) expect(list).to.match(/ name=redis-sse:(subscriber|lease):\S+ .* resp=2/);
      await rig.server.killSubscribers();
      if (subscriptions === "shared") {
        await client.next(({ event }) => event === "gap", 10_000);
      } else {
        await client.ended;
        expect(client.events.at(-1)).to.have.property("data", '{"reason":"redis-lost"}');
      }
      const later = await openLive("a");
      await service.publish("a", { data: "again" });
      await later.next(({ data }) => data === "again");
      expect(await rig.server.receiversOf("a")).to.equal(1);
    });
  }

  it("shared: what was published while the connection was lost comes, once and in order", async () => {
    const { service, openLive } = await rig.start({
      redis: { host: "127.0.0.1", port: rig.server.port, protocol: 2 },
    });
    const client = await openLive("a");
    await publishNumbers(service, "a", 0, 2);
    await rig.server.killSubscribers();
    await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(0));
    await publishNumbers(service, "a", 2, 4);
    await client.next(({ data }) => data === "3", 10_000);
    await publishNumbers(service, "a", 4, 5);
    await client.next(({ data }) => data === "4");
    expectEveryNumber(client.events, 5);
    expect(await rig.server.receiversOf("a")).to.equal(1);
  });
});
