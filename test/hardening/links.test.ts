import { expect } from "chai";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { eventually, repeat } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { createRandom } from "../support/random.js";
import { expectEveryNumber, publishNumbers } from "../support/sequence.js";

describeFaults("faults of the link to Redis", (rig) => {
  /** Another process, whose way to the server has no fault. */
  function startPublisher(): RedisSse {
    return rig.adopt(createRedisSse({ redis: rig.server.url }));
  }

  it("shared: notices a link that is dead but looks open, and comes back over a new one", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, heartbeatMs: 200, history: false });
    const client = await app.openLive("a");
    proxy.hold();
    // The stream itself goes on meanwhile: its client hears heartbeats, and nobody ends it.
    await eventually(() => expect(client.comments.length).to.be.greaterThan(5));
    // The old link is given up, and a new one tried, which hangs in its handshake as well.
    const before = proxy.accepted;
    await eventually(() => expect(proxy.accepted).to.be.greaterThan(before + 1), 20_000);
    proxy.release();
    await client.next(({ event }) => event === "gap", 20_000);
    await rig.server.admin.publish("a", "again");
    await client.next(({ data }) => data === "again");
    expect((await app.service.status()).sessions.closed).to.deep.equal({});
  });

  it("shared: over a new link in place of a dead one comes what was published meanwhile", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, heartbeatMs: 200 });
    const client = await app.openLive("a");
    const publisher = startPublisher();
    await publishNumbers(publisher, "a", 0, 2);
    await client.next(({ data }) => data === "1");
    proxy.hold();
    await publishNumbers(publisher, "a", 2, 4);
    const before = proxy.accepted;
    await eventually(() => expect(proxy.accepted).to.be.greaterThan(before + 1), 20_000);
    expectEveryNumber(client.events, 2);
    proxy.release();
    await client.next(({ data }) => data === "3", 20_000);
    await publishNumbers(publisher, "a", 4, 5);
    await client.next(({ data }) => data === "4");
    expectEveryNumber(client.events, 5);
    expect((await app.service.status()).sessions.closed).to.deep.equal({});
  });

  it("shared: subscribes again when the link is cut before SUBSCRIBE is heard", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, history: false });
    const client = await app.openLive("a");
    proxy.cutAt("subscribe");
    proxy.cut();
    await client.next(({ event }) => event === "gap", 10_000);
    expect(proxy.cutPending).to.equal(false);
    await rig.server.admin.publish("a", "again");
    await client.next(({ data }) => data === "again");
    expect(await rig.server.receiversOf("a")).to.equal(1);
  });

  it("shared: what is published until SUBSCRIBE is heard again comes as well", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const client = await app.openLive("a");
    const publisher = startPublisher();
    await publishNumbers(publisher, "a", 0, 2);
    await client.next(({ data }) => data === "1");
    proxy.cutAt("subscribe");
    proxy.cut();
    await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(0));
    await publishNumbers(publisher, "a", 2, 4);
    await client.next(({ data }) => data === "3", 10_000);
    expect(proxy.cutPending).to.equal(false);
    await publishNumbers(publisher, "a", 4, 5);
    await client.next(({ data }) => data === "4");
    expectEveryNumber(client.events, 5);
    expect(await rig.server.receiversOf("a")).to.equal(1);
  });

  it("shared: tells the gap before a message that comes with the acknowledgement", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, history: false });
    const client = await app.openLive("a");
    proxy.keepRepliesAt("subscribe");
    proxy.cut();
    await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(0));
    await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(1), 10_000);
    await rig.server.admin.publish("a", "right behind it");
    await eventually(() => expect(proxy.keptReplies).to.include("right behind it"));
    proxy.release();
    await client.next(({ data }) => data === "right behind it");
    expect(client.events.map(({ event }) => event)).to.deep.equal(["connected", "gap", "message"]);
  });

  it("shared: what was missed comes before an event that comes with the acknowledgement", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const client = await app.openLive("a");
    const publisher = startPublisher();
    proxy.keepRepliesAt("subscribe");
    proxy.cut();
    await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(0));
    await publishNumbers(publisher, "a", 0, 2);
    await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(1), 10_000);
    await publishNumbers(publisher, "a", 2, 4);
    await eventually(() => expect(proxy.keptReplies).to.match(/\n2\r\n[^]*\n3\r\n/));
    expectEveryNumber(client.events, 0);
    proxy.release();
    await client.next(({ data }) => data === "3");
    expectEveryNumber(client.events, 4);
  });

  it("shared: a channel over which another program publishes too is told a gap, and what was kept comes", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const [both, ours] = await Promise.all([app.openLive("both"), app.openLive("ours")]);
    const publisher = startPublisher();
    await rig.server.admin.publish("both", "of another program");
    await both.next(({ data }) => data === "of another program");
    proxy.cut();
    await eventually(async () => expect(await rig.server.receiversOf("both")).to.equal(0));
    await publishNumbers(publisher, "both", 0, 2);
    await publishNumbers(publisher, "ours", 0, 2);
    await ours.next(({ data }) => data === "1", 10_000);
    expectEveryNumber(ours.events, 2);
    await both.next(({ data }) => data === "1", 10_000);
    expect(both.events.slice(1).map(({ event, data }) => [event, data])).to.deep.equal([
      ["message", "of another program"],
      ["gap", '{"channels":["both"],"reason":"interrupted"}'],
      ["message", "0"],
      ["message", "1"],
    ]);
  });

  it("shared: a link that is closed without a word is told as Redis being away", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, limits: { subscribeTimeoutMs: 200 } });
    proxy.refuse(true);
    const client = await app.open("a");
    await client.ended;
    expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "REDIS_UNAVAILABLE");
    proxy.refuse(false);
  });

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: over a slow link everything comes, later and in order`, async () => {
      const proxy = await rig.proxy();
      proxy.delay(60);
      const app = await rig.start({ redis: proxy.url, subscriptions });
      const client = await app.openLive("a");
      for (let number = 0; number < 100; number++) {
        // One after the other, so that each is a chunk of its own; half of them are on their way when it gets faster.
        await rig.server.admin.publish("a", String(number));
        if (number === 50) proxy.delay(5);
      }
      await client.next(({ data }) => data === "99");
      const numbers = client.events
        .filter(({ event }) => event === "message")
        .map(({ data }) => Number(data));
      expect(numbers).to.deep.equal(Array.from({ length: 100 }, (_, index) => index));
      expect((await app.service.status()).sessions.closed).to.deep.equal({});
    });

    it(`${subscriptions}: a link that is too narrow for what is published ends by the server's limit, and is told`, async () => {
      await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 1mb 512kb 1");
      const proxy = await rig.proxy();
      const app = await rig.start({ redis: proxy.url, subscriptions });
      const client = await app.openLive("a");
      proxy.throttle(200_000);
      const text = "x".repeat(50_000);
      const publisher = repeat(() =>
        Promise.all(Array.from({ length: 20 }, () => rig.server.admin.publish("a", text))),
      );
      await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(0), 20_000);
      await publisher.stop();
      proxy.throttle(Infinity);
      // The client hears what had passed, and then of the loss.
      if (subscriptions === "dedicated") {
        await client.ended;
        expect(client.events.slice(-2).map(({ event }) => event)).to.deep.equal(["error", "closing"]);
      } else {
        await client.next(({ event }) => event === "gap", 20_000);
        await rig.server.admin.publish("a", "again");
        await client.next(({ data }) => data === "again");
      }
    });
  }

  it("shared: backs off while Redis refuses it, and tries with one connection for all streams", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, history: false });
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

  it("shared: tries with two connections for all streams where their logs are read, and all get what they missed", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const rooms = Array.from({ length: 50 }, (_, index) => `room:${index}`);
    const clients = await Promise.all(rooms.map((room) => app.openLive(room)));
    const publisher = startPublisher();
    const before = proxy.accepted;
    proxy.refuse(true);
    proxy.cut();
    await Promise.all(rooms.map((room) => publishNumbers(publisher, room, 0, 2)));
    await eventually(() => expect(proxy.accepted).to.be.greaterThan(before + 8), 20_000);
    const startedAt = Date.now();
    const tried = proxy.accepted;
    await eventually(() => expect(proxy.accepted).to.be.greaterThan(tried + 4), 20_000);
    // Five further tries, of which one connection has made three.
    expect(Date.now() - startedAt).to.be.greaterThan(500);
    proxy.refuse(false);
    await Promise.all(clients.map((client) => client.next(({ data }) => data === "1", 10_000)));
    for (const client of clients) expectEveryNumber(client.events, 2);
  });

  for (const history of [false, {}] as const) {
    const [what, links] =
      history === false ? ["without a history", 1] : ["with one, for which one more link is made", 2];
    it(`dedicated: a server that accepts and says nothing costs a stream its deadline, and nothing is held, ${what}`, async () => {
      const proxy = await rig.proxy();
      const app = await rig.start({
        redis: proxy.url,
        subscriptions: "dedicated",
        pool: { acquireTimeoutMs: 300 },
        history,
      });
      proxy.hold();
      const clients = await Promise.all([app.open("a"), app.open("b"), app.open("c")]);
      await Promise.all(clients.map((client) => client.ended));
      for (const client of clients) expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
      expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
      const tried = proxy.accepted;
      proxy.release();
      const next = await app.openLive("a");
      expect(proxy.accepted).to.equal(tried + links);
      next.destroy();
    });
  }

  it("end state equals what is wanted after the subscriber was killed again and again under joins and leaves", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const kept = await Promise.all(Array.from({ length: 8 }, (_, index) => app.openLive(`room:${index}`)));
    const seed = Date.now() % 1_000_000;
    const random = createRandom(seed);
    for (let round = 0; round < 20; round++) {
      const joining = Array.from({ length: 10 }, (_, index) => app.open(`room:${(round + index) % 8}`));
      await rig.server.killSubscribers();
      for (const client of await Promise.all(joining)) {
        if (random() < 0.7) client.destroy();
      }
    }
    await eventually(async () => {
      await Promise.all(
        kept.map(async (_, index) =>
          expect(await rig.server.receiversOf(`room:${index}`), `seed ${seed}`).to.equal(1),
        ),
      );
    }, 15_000);
    for (const [index, client] of kept.entries()) {
      await rig.server.admin.publish(`room:${index}`, `last ${index}`);
      await client.next(({ data }) => data === `last ${index}`);
    }
  });
});
