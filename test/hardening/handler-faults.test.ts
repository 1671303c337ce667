import { request } from "node:http";

import { expect } from "chai";

import type { OutboundMessage, PubSubSession } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { expectFault, faultOf, thrower } from "../support/service.js";

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

    for (const [what, first, code] of [
      ["a reserved name", [{ data: "fine" }, { event: "open", data: "" }], "INVALID_EVENT"],
      ["no data", [{ event: "state" }], "UNSERIALIZABLE"],
      ["a name that is too long", [{ event: "x".repeat(257), data: "" }], "EVENT_TOO_LARGE"],
      ["a promise instead of an array", Promise.resolve([]), "INVALID_EVENT"],
    ] as const) {
      it(`\`first\` with ${what} is ${code} for next(err), before anything is subscribed`, async () => {
        const { app, service } = await rig.start(
          { subscriptions },
          { first: () => first as readonly OutboundMessage[] },
        );
        for (const method of ["GET", "HEAD"]) {
          const signal = AbortSignal.timeout(5_000);
          const answer = await fetch(`${app.url}/stream?channel=a`, { method, signal });
          expect(answer.status).to.equal(500);
          expect(app.errors).to.have.length(method === "GET" ? 1 : 2);
          expectFault(app.errors.at(-1), code);
        }
        const { sessions, channels, pool } = await service.status();
        expect(sessions).to.deep.include({ open: 0, opened: 0, closed: {} });
        expect(channels).to.deep.equal([]);
        expect(pool).to.deep.include({ inUse: 0, waiting: 0 });
        expect(await rig.server.callsOf("subscribe")).to.equal(0);
      });
    }

    /** An app with one live stream, and the session of that stream. */
    async function openOne() {
      const opened: PubSubSession[] = [];
      const app = await rig.start({ subscriptions }, { onOpen: (session) => void opened.push(session) });
      const client = await app.openLive("a");
      const session = await eventually(() => {
        expect(opened).to.have.length(1);
        return opened[0]!;
      });
      return { service: app.service, client, session };
    }

    it("is not affected if publish() or send() rejects data without a JSON form", async () => {
      const { service, client, session } = await openOne();
      const calls = await rig.server.callsOf("publish");
      const both = [service.publish("a", { data: thrower }), service.publish("a", { data: "fine" })] as const;
      expectFault(await faultOf(both[0]), "UNSERIALIZABLE");
      await both[1];
      expect(() => session.send({ data: thrower }))
        .to.throw()
        .with.property("code", "UNSERIALIZABLE");
      await client.next(({ data }) => data === "fine");
      expect(client.events).to.have.length(2);
      expect(await rig.server.callsOf("publish")).to.equal(calls + 1);
    });

    it("gets events that are sent before close() in the same tick, and no later ones", async () => {
      const { service, client, session } = await openOne();
      session.send({ data: "before" });
      const closed = session.close();
      session.send({ data: "after" });
      // Redis keeps the subscription for some time, so this event reaches a closing session.
      await service.publish("a", { data: "late" });
      await closed;
      session.send({ data: "after all" });
      await client.ended;
      expect(client.events.slice(1).map(({ data }) => data)).to.deep.equal(["before", '{"reason":"app"}']);
      expect(session.statistics.messagesSent).to.equal(1);
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
