import { once } from "node:events";

import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { openHttp2Stream, startHttp2App, type Http2App, type Http2Stream } from "../support/http2-app.js";

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(`streams over HTTP/2, ${subscriptions}`, (rig) => {
    let service: RedisSse;
    let app: Http2App;
    let reached = deferred();
    let answer = deferred<string>();

    beforeEach(async () => {
      service = rig.connect({ subscriptions });
      reached = deferred();
      answer = deferred<string>();
      app = await startHttp2App((router) => {
        router.get(
          "/stream",
          sseStream((req) => req.query["channel"] as string, { service }),
        );
        const resolver = (): Promise<string> => {
          reached.resolve();
          return answer.promise;
        };
        router.get("/slow", sseStream(resolver, { service }));
      });
      rig.undo(() => app.close());
    });

    async function untilReceived(stream: Http2Stream, text: string): Promise<void> {
      await eventually(() => expect(stream.events.map(({ data }) => data)).to.include(text));
    }

    async function openLive(count: number): Promise<{
      session: ReturnType<Http2App["connect"]>;
      streams: readonly Http2Stream[];
    }> {
      const session = app.connect();
      const streams = Array.from({ length: count }, () => openHttp2Stream(session, "/stream?channel=a"));
      await eventually(() => {
        for (const { status, events } of streams) {
          expect(status).to.equal(200);
          expect(events.map(({ event }) => event)).to.deep.equal(["connected"]);
        }
      });
      return { session, streams };
    }

    it("close alone if they are cancelled, and together if their connection is lost", async () => {
      const { streams } = await openLive(5);
      const lost = await openLive(10);
      lost.session.destroy();
      streams[2]!.cancel();
      await eventually(async () => {
        expect((await service.status()).sessions).to.deep.include({ open: 4, closed: { "client-gone": 11 } });
        expect(service.pool.statistics.inUse).to.equal(subscriptions === "dedicated" ? 4 : 0);
      });
      await rig.server.admin.publish("a", "still here");
      for (const [index, stream] of streams.entries())
        if (index !== 2) await untilReceived(stream, "still here");
      expect(streams[2]!.events).to.have.length(1);
    });

    it("do not open if the client cancels while the resolver runs, and the connection stays usable", async () => {
      const { session, streams } = await openLive(1);
      const cancelled = openHttp2Stream(session, "/slow");
      await reached.promise;
      const before = await rig.server.callsOf("subscribe");
      cancelled.cancel();
      // Frames arrive in order. When this request is answered, the server has seen the cancellation.
      await once(session.request({ ":path": "/stream", ":method": "HEAD" }).resume(), "close");
      answer.resolve("late");
      await settle();
      expect((await service.status()).sessions).to.deep.include({ open: 1, opened: 1 });
      expect(await rig.server.callsOf("subscribe")).to.equal(before);
      await rig.server.admin.publish("a", "still here");
      await untilReceived(streams[0]!, "still here");
    });

    it("end with the reason if the app drains the service", async () => {
      const { streams } = await openLive(2);
      await service.drain({ timeoutMs: 5_000, spreadMs: 0 });
      await eventually(() => {
        for (const { events } of streams)
          expect(events.at(-1)).to.have.property("data", '{"reason":"drain"}');
      });
    });
  });
}
