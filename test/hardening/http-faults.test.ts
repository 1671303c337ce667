import { expect } from "chai";
import express from "express";

import { sseStream } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { getRequest, openWire, type WireClient } from "../support/wire-client.js";
import { openStream } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { isConnected, isGap, typesOf } from "../support/fault-steps.js";

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(`a stream whose client misbehaves, ${subscriptions}`, (rig) => {
    const untilGone = ({ service }: StreamApp, open: number): Promise<unknown> =>
      eventually(async () => {
        const { sessions } = await service.status();
        expect(sessions).to.deep.include({ open, closed: { "client-gone": 1 } });
      });

    const BODY = `\r\nContent-Length: 300000\r\n\r\n${"x".repeat(300_000)}`;
    for (const [how, tail, leave] of [
      ["with a FIN alone", "\r\n\r\n", ({ socket }) => socket.end()],
      ["with a RST", "\r\n\r\n", ({ socket }) => socket.resetAndDestroy()],
      ["without reading the received data", "\r\n\r\n", ({ socket }) => socket.pause().destroy()],
      ["with a FIN after a body that no handler read", BODY, ({ socket }) => socket.end()],
      ["with a RST after a body that no handler read", BODY, ({ socket }) => socket.resetAndDestroy()],
    ] as readonly (readonly [string, string, (client: WireClient) => unknown])[]) {
      it(`closes with client-gone at once if the client leaves ${how}`, async () => {
        const app = await rig.start({ subscriptions });
        const other = await app.openLive("a");
        const client = await openWire(app.app.url, getRequest("/stream?channel=a").replace("\r\n\r\n", tail));
        await client.until("event: connected");
        leave(client);
        await untilGone(app, 1);
        await rig.server.admin.publish("a", "still here");
        await other.next(({ data }) => data === "still here");
      });
    }

    it("stays open after its POST request has closed, until the client leaves", async () => {
      const app = await rig.start({ subscriptions });
      const over = deferred();
      app.app.app.post(
        "/posted",
        express.json(),
        sseStream((req) => (req.body as { channel: string }).channel, {
          service: app.service,
          onOpen: (_, req) => {
            if (req.closed) over.resolve();
            else req.once("close", () => over.resolve());
          },
        }),
      );
      const client = await openStream(`${app.app.url}/posted`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ channel: "posted" }),
      });
      await client.next(isConnected);
      await over.promise;
      await settle();
      await rig.server.admin.publish("posted", "after the close");
      await client.next(({ data }) => data === "after the close");
      client.destroy();
      await untilGone(app, 0);
    });

    it("survives a proxy that cuts idle connections, thanks to heartbeats", async () => {
      const idleMs = 300;
      const apps = [
        await rig.start({ subscriptions, heartbeatMs: 60_000 }),
        await rig.start({ subscriptions, heartbeatMs: 50 }),
      ] as const;
      const [cut, kept] = await Promise.all(
        apps.map(async ({ app }) => {
          const proxy = await TcpProxy.start(Number(new URL(app.url).port));
          rig.undo(() => proxy.close());
          proxy.cutIdle(idleMs);
          const client = await openStream(`http://127.0.0.1:${proxy.port}/stream?channel=quiet`);
          rig.undo(() => client.destroy());
          await client.next(isConnected);
          return client;
        }),
      );
      const startedAt = performance.now();
      await cut!.ended;
      // Only heartbeats are sent, for three times the idle timeout of the proxy.
      await eventually(() => expect(performance.now() - startedAt).to.be.greaterThan(3 * idleMs));
      expect(kept!.events).to.have.length(1);
      await rig.server.admin.publish("quiet", "still here");
      await kept!.next(({ data }) => data === "still here");
      await untilGone(apps[0], 0);
    });

    it("sends events published during SUBSCRIBE after `connected`, in order and without a hole", async () => {
      const { open } = await rig.start({ subscriptions });
      let published = 0;
      const over = new AbortController();
      const loop = (async () => {
        while (!over.signal.aborted) await rig.server.admin.publish("busy", String(published++));
      })();
      try {
        await eventually(() => expect(published).to.be.greaterThan(10));
        const streams = await Promise.all(Array.from({ length: 20 }, () => open("busy")));
        await eventually(() => {
          for (const { events } of streams) expect(events.length).to.be.greaterThan(100);
        }, 15_000);
        for (const { events } of streams) {
          const [first, ...rest] = events;
          expect(first).to.have.property("event", "connected");
          const heard = rest.map(({ data }) => Number(data));
          expect(heard).to.deep.equal(heard.map((_, index) => heard[0]! + index));
        }
      } finally {
        over.abort();
        await loop;
      }
    });

    it("reports a lost connection over RESP2, and later streams get events", async () => {
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
      // Redis 6.2 does not list the protocol.
      if (list.includes(" resp=")) expect(list).to.match(/ name=redis-sse:(subscriber|lease):\S+ .* resp=2/);
      await rig.server.killSubscribers();
      if (subscriptions === "shared") await client.next(isGap, 10_000);
      else {
        await client.ended;
        expect(typesOf(client).slice(1)).to.deep.equal(["error", "closing"]);
      }
      const later = await openLive("a");
      await service.publish("a", { data: "again" });
      await later.next(({ data }) => data === "again");
      expect(await rig.server.receiversOf("a")).to.equal(1);
    });
  });
}
