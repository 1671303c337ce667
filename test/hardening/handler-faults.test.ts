import { request } from "node:http";

import { expect } from "chai";

import type { PubSubSession } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(`a stream with faulty callbacks of the app, ${subscriptions}`, (rig) => {
    it("stays open and gets every event if `until` throws", async () => {
      let asked = 0;
      const { service, openLive } = await rig.start(
        { subscriptions },
        {
          until: ({ data }, req) => {
            if (data !== "trap" || req.get("x-trap") !== undefined) return false;
            asked++;
            throw new Error("password=hunter2");
          },
        },
      );
      const streams = await Promise.all([openLive("a"), openLive("a"), openLive("a")]);
      for (const data of ["before", "trap", "after"]) await service.publish("a", { data });
      await Promise.all(streams.map((stream) => stream.next(({ data }) => data === "after")));
      for (const { events, text } of streams) {
        expect(events.slice(1).map(({ data }) => data)).to.deep.equal(["before", "trap", "after"]);
        expect(text).to.not.include("hunter2");
      }
      expect(asked).to.equal(3);
      const { sessions, hub } = await service.status();
      expect(sessions).to.deep.include({ open: 3, closed: {} });
      expect(hub.memberFaults).to.equal(0);
    });

    it("ends with an error code if its `onOpen` throws, without effect on other streams", async () => {
      const opened: PubSubSession[] = [];
      const { app, service, open, openLive } = await rig.start(
        { subscriptions },
        {
          onOpen: (session) => {
            opened.push(session);
            if (opened.length === 2) throw new Error("password=hunter2");
          },
        },
      );
      const first = await openLive("a");
      const second = await open("a");
      await second.ended;
      const third = await openLive("a");
      expect(second.events.slice(1).map(({ event, data }) => [event, data])).to.deep.equal([
        ["error", '{"code":"INTERNAL","message":"an unexpected error"}'],
        ["closing", '{"reason":"app"}'],
      ]);
      await eventually(() => expect(app.errors).to.have.length(1));
      await rig.server.admin.publish("a", "x");
      for (const stream of [first, third]) await stream.next(({ data }) => data === "x");
      await eventually(async () => {
        expect((await service.status()).sessions).to.deep.include({ open: 2, closed: { app: 1 } });
      });
    });

    it("drops events without an error in the tick in which its client disconnects", async () => {
      const noticed: PubSubSession[] = [];
      const { app, service } = await rig.start({ subscriptions });
      app.app.get(
        "/watched",
        (_req, res, next) => {
          // Runs before the session's own listener: the response is closed, but the session is still open.
          res.once("close", () => {
            const [session] = noticed;
            expect(session!.state).to.equal("subscribed");
            session!.send({ data: "nobody" });
            res.write("nobody");
          });
          next();
        },
        sseStream(() => "a", { service, onOpen: (session) => void noticed.push(session) }),
      );
      const left = request(`${app.url}/watched`, { agent: false }).end();
      left.on("error", () => {});
      await eventually(() => expect(noticed).to.have.length(1));
      left.destroy();
      await noticed[0]!.closed;
      await settle();
      expect(noticed[0]!.closeReason).to.equal("client-gone");
      expect(app.errors).to.deep.equal([]);
    });
  });
}
