import { expect } from "chai";
import express from "express";

import { sseStream } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { getRequest, openWire, type WireClient } from "../support/wire-client.js";
import { openStream } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
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
