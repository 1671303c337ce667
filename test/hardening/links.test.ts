import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { expectEveryNumber, publishNumbers } from "../support/sequence.js";
import type { SseClient } from "../support/sse-client.js";
import { dataOf } from "../support/stream-harness.js";
import { codeOf, isGap, numbers, typesOf } from "../support/fault-steps.js";

describeFaults("a service over a faulty connection to Redis", (rig) => {
  for (const history of [false, {}] as const) {
    const kept = history !== false;

    describe(`shared, ${kept ? "with" : "without"} history`, () => {
      /** A service of another process with a direct connection to Redis. */
      const startPublisher = (): RedisSse => rig.connect({ history });

      async function start(): Promise<{ app: Awaited<ReturnType<typeof rig.start>>; client: SseClient }> {
        const app = await rig.start({ redis: (await rig.proxy()).url, heartbeatMs: 200, history });
        return { app, client: await app.openLive("a") };
      }

      const untilReceivers = (count: number): Promise<unknown> =>
        eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(count), 10_000);

      /** The client has the first two of five numbers. The next two were published while the connection was broken. */
      async function expectToldOfLoss(client: SseClient, publisher: RedisSse): Promise<void> {
        if (kept) await client.next(({ data }) => data === "3", 20_000);
        else await client.next(isGap, 20_000);
        await publishNumbers(publisher, "a", 4, 5);
        await client.next(({ data }) => data === "4");
        if (kept) expectEveryNumber(client.events, 5);
        else expect(typesOf(client)).to.deep.equal(["connected", "message", "message", "gap", "message"]);
      }

      it("replaces a connection that is dead but looks open", async () => {
        const proxy = await rig.proxy();
        const { app, client } = await start();
        const publisher = startPublisher();
        await publishNumbers(publisher, "a", 0, 2);
        await client.next(({ data }) => data === "1");
        proxy.hold();
        await publishNumbers(publisher, "a", 2, 4);
        // The stream stays open, and its client gets heartbeats.
        const beats = client.comments.length;
        await eventually(() => expect(client.comments.length).to.be.greaterThan(beats + 5));
        // The service drops the old connection. The new one hangs in its handshake too.
        const before = proxy.accepted;
        await eventually(() => expect(proxy.accepted).to.be.greaterThan(before + 1), 20_000);
        expectEveryNumber(client.events, 2);
        proxy.release();
        await expectToldOfLoss(client, publisher);
        expect((await app.service.status()).sessions.closed).to.deep.equal({});
      });

      it("sends SUBSCRIBE again if the connection breaks before Redis receives the command", async () => {
        const proxy = await rig.proxy();
        const { client } = await start();
        const publisher = startPublisher();
        await publishNumbers(publisher, "a", 0, 2);
        await client.next(({ data }) => data === "1");
        proxy.cutAt("subscribe");
        proxy.cut();
        await untilReceivers(0);
        await publishNumbers(publisher, "a", 2, 4);
        await expectToldOfLoss(client, publisher);
        expect(proxy.cutPending).to.equal(false);
        expect(await rig.server.receiversOf("a")).to.equal(1);
      });

      it("sends missed events, or a gap event, before an event that arrives with the acknowledgement", async () => {
        const proxy = await rig.proxy();
        const { client } = await start();
        const publisher = startPublisher();
        proxy.keepRepliesAt("subscribe");
        proxy.cut();
        await untilReceivers(0);
        await publishNumbers(publisher, "a", 0, 2);
        await untilReceivers(1);
        await publishNumbers(publisher, "a", 2, 4);
        await eventually(() => expect(proxy.keptReplies).to.match(/\n2\r\n[^]*\n3\r\n/));
        expectEveryNumber(client.events, 0);
        proxy.release();
        await client.next(({ data }) => data === "3");
        if (kept) expectEveryNumber(client.events, 4);
        else expect(typesOf(client)).to.deep.equal(["connected", "gap", "message", "message"]);
      });
    });
  }

  it("shared: sends a gap event and the kept events on a channel that another program uses too", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const [both, ours] = await Promise.all([app.openLive("both"), app.openLive("ours")]);
    const publisher = rig.connect();
    await rig.server.admin.publish("both", "of another program");
    await both.next(({ data }) => data === "of another program");
    proxy.cut();
    await eventually(async () => expect(await rig.server.receiversOf("both")).to.equal(0));
    await publishNumbers(publisher, "both", 0, 2);
    await publishNumbers(publisher, "ours", 0, 2);
    for (const client of [ours, both]) await client.next(({ data }) => data === "1", 10_000);
    expectEveryNumber(ours.events, 2);
    expect(both.events.slice(1).map(({ event, data }) => [event, data])).to.deep.equal([
      ["message", "of another program"],
      ["gap", '{"channels":["both"],"reason":"interrupted"}'],
      ["message", "0"],
      ["message", "1"],
    ]);
  });

  it("shared: reports REDIS_UNAVAILABLE if the connection is closed without a reply", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, limits: { subscribeTimeoutMs: 200 } });
    proxy.refuse(true);
    const client = await app.open("a");
    await client.ended;
    expect(codeOf(client)).to.equal("REDIS_UNAVAILABLE");
    proxy.refuse(false);
  });

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: delivers all events in order over a slow connection`, async () => {
      const proxy = await rig.proxy();
      proxy.delay(60);
      const app = await rig.start({ redis: proxy.url, subscriptions });
      const client = await app.openLive("a");
      for (const number of numbers(100)) {
        // One at a time, so that each is a separate chunk. Half of them are in transit when the delay shrinks.
        await rig.server.admin.publish("a", number);
        if (number === "50") proxy.delay(5);
      }
      await client.next(({ data }) => data === "99");
      expect(dataOf(client)).to.deep.equal(numbers(100));
      expect((await app.service.status()).sessions.closed).to.deep.equal({});
    });

    it(`${subscriptions}: ends each stream at its deadline and holds nothing if Redis accepts connections but never replies`, async () => {
      const proxy = await rig.proxy();
      const limits = { subscribeTimeoutMs: 300, closeTimeoutMs: 200 };
      const pool = { acquireTimeoutMs: 300 };
      const app = await rig.start({ redis: proxy.url, subscriptions, limits, pool });
      proxy.hold();
      const clients = await Promise.all([app.open("a"), app.open("b"), app.open("c")]);
      for (const client of clients) {
        await client.ended;
        expect(typesOf(client)).to.deep.equal(["error"]);
        expect(codeOf(client)).to.match(/TIMEOUT|REDIS_UNAVAILABLE/);
      }
      expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
      const tried = proxy.accepted;
      proxy.release();
      await app.openLive("a");
      // One for the stream and one to read its history.
      if (subscriptions === "dedicated") expect(proxy.accepted).to.equal(tried + 2);
    });
  }
});
