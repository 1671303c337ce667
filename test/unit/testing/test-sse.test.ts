import { once } from "node:events";

import { expect } from "chai";

import {
  createTestSse,
  FakeClock,
  type TestRedis,
  type TestSse,
  type TestSseOptions,
} from "../../../testing/index.js";
import { deferred, eventually } from "../../support/eventually.js";
import { expectFault, faultOf, listen } from "../../support/service.js";

describe("createTestSse()", () => {
  const services: TestSse[] = [];
  const create = (options?: TestSseOptions): TestSse => {
    const sse = createTestSse(options);
    services.push(sse);
    return sse;
  };
  afterEach(async () => {
    for (const sse of services.splice(0)) await sse.close();
  });

  it("shares data and channels only with services on the same TestRedis", async () => {
    const sse = create();
    const process = create({ redis: sse.redis, subscriptions: "dedicated" });
    const stranger = create();
    const heard = await listen(process, "a");
    await stranger.publish("a", { data: "theirs" });
    await sse.publish("a", { data: "ours" });
    await heard.sync();
    expect(heard.messages).to.deep.equal(["ours"]);
    expect(await process.lastEventId("a")).to.equal(await sse.lastEventId("a"));
    expect(await stranger.lastEventId("a")).not.to.equal(await sse.lastEventId("a"));
    await heard.stop();
  });

  it("keeps the data of its TestRedis until its last service is closed", async () => {
    const sse = create();
    const process = create({ redis: sse.redis });
    await process.pool.commands.set("key", "value");
    await sse.close();
    expect(await process.pool.commands.get("key")).to.equal("value");
    await process[Symbol.asyncDispose]();
    expect(await sse.redis.createClient().get("key")).to.equal(null);
  });

  for (const order of ["before", "after"]) {
    it(`keeps the data for a service that started to close ${order} the other one and is still closing`, async () => {
      const sse = create();
      const busy = create({ redis: sse.redis });
      const client = sse.redis.createClient();
      const started = deferred();
      const finish = deferred();
      busy.queue("q").worker(async () => {
        started.resolve();
        await finish.promise;
      });
      await sse.queue("q").enqueue("work", null);
      await started.promise;
      const idle = order === "before" ? [] : [sse.close()];
      const closing = busy.close();
      await Promise.all([...idle, sse.close()]);
      expect(await client.dbsize()).to.be.greaterThan(0);
      finish.resolve();
      await closing;
      expect(await sse.redis.createClient().dbsize()).to.equal(0);
    });
  }

  it("accepts the clock and the TestRedis of another copy of this package", async () => {
    const copyOf = (file: string): Promise<unknown> =>
      import(new URL(`../../../testing/${file}.js?copy`, import.meta.url).href);
    const { FakeClock: OtherClock } = (await copyOf("fake-clock")) as { FakeClock: typeof FakeClock };
    const { createTestSse: createOther } = (await copyOf("test-sse")) as {
      createTestSse: typeof createTestSse;
    };
    const { TestRedis: OtherRedis } = (await copyOf("test-redis")) as { TestRedis: typeof TestRedis };
    const clock = new OtherClock();
    expect(clock).not.to.be.instanceOf(FakeClock);
    const sse = create({ redis: new OtherRedis(clock) });
    const other = createOther({ redis: sse.redis });
    await sse.pool.commands.set("key", "value");
    sse.queue("q").worker(() => new Promise(() => {}), { onFault: () => {} });
    await sse.queue("q").enqueue("work", null);
    await eventually(() => expect(sse.queue("q").statistics.running).to.equal(1));
    // close() waits for the task, up to a deadline on the clock.
    await sse.close();
    expect(await other.pool.commands.get("key")).to.equal("value");
    await other.close();
    expect(clock.pending).to.equal(0);
  });

  it("creates clients with pipelines and callbacks to which simulated faults apply", async () => {
    const { redis } = create();
    const client = redis.createClient();
    await client.set("a", "1");
    expect(await client.pipeline().get("a").incr("a").exec()).to.deep.equal([
      [null, "1"],
      [null, 2],
    ]);
    expect(await new Promise((resolve) => void client.get("a", (_, value) => resolve(value)))).to.equal("2");
    const allow = redis.refuse("NOPERM", { command: "GET" });
    expect(await faultOf(client.get("a"))).to.have.property("name", "ReplyError");
    allow();
    expect(await client.get("a")).to.equal("2");
    redis.stop({ commands: "wait" });
    const reply = client.get("a");
    redis.start();
    expect(await reply).to.equal("2");
    redis.stop();
    expect(await faultOf(client.get("a"))).to.have.property("name", "MaxRetriesPerRequestError");
  });

  it("loses subscriptions on a stop, checks OOM before the first write of a script, and expires keys by the clock", async () => {
    const clock = new FakeClock();
    const { redis } = create({ clock });
    const client = redis.createClient();
    const subscriber = redis.createClient({ autoResubscribe: false });
    await subscriber.subscribe("a");
    expect(await client.publish("a", "x")).to.equal(1);
    redis.stop();
    redis.start();
    expect(await client.publish("a", "x")).to.equal(0);

    client.defineCommand("replace", {
      lua: "redis.call('del', KEYS[1]) return redis.call('set', KEYS[1], 'new')",
      numberOfKeys: 1,
    });
    redis.refuse("OOM");
    await (client as unknown as { replace(key: string): Promise<unknown> }).replace("a");
    expect(await faultOf(client.set("b", "x"))).to.have.property("name", "ReplyError");
    redis.recover();

    await client.pexpire("a", 1_000);
    await clock.advance(999);
    expect(await client.get("a")).to.equal("new");
    await clock.advance(1);
    expect(await client.get("a")).to.equal(null);
  });

  it("creates clients that connect at once unless lazyConnect is set", async () => {
    const { redis } = create();
    await once(redis.createClient(), "ready");
    const lazy = redis.createClient({ lazyConnect: true });
    const ready = once(lazy, "ready");
    await lazy.connect();
    await ready;
    redis.stop();
    const late = redis.createClient();
    await once(late, "error");
    const back = once(late, "ready");
    redis.start();
    await back;
  });

  const losses: readonly (readonly [string, (sse: TestSse) => void, readonly string[]])[] = [
    ["Redis was stopped", ({ redis }) => (redis.stop(), redis.start()), ["a", "p*"]],
    [
      "Redis was stopped twice",
      ({ redis }) => (redis.stop(), redis.start(), redis.stop(), redis.start()),
      ["a", "p*"],
    ],
    // Redis rejects a SUBSCRIBE as a whole.
    ["Redis denied one of its channels", ({ redis }) => redis.refuse("NOPERM", { channel: "c" })(), ["p*"]],
  ];
  for (const [what, lose, expected] of losses) {
    it(`resubscribes a client after ${what}, unless autoResubscribe is false`, async () => {
      const sse = create();
      const clients = [{}, { autoResubscribe: false }].map((options) => sse.redis.createClient(options));
      const heard = clients.map((client) => {
        const messages: string[] = [];
        client.on("message", (channel: string) => messages.push(channel));
        client.on("pmessage", (pattern: string) => messages.push(pattern));
        return messages;
      });
      for (const client of clients) {
        await client.subscribe("a", "b", "c");
        await client.psubscribe("p*");
        await client.unsubscribe("b");
      }
      lose(sse);
      const publisher = sse.redis.createClient();
      for (const channel of ["a", "b", "p1"]) await publisher.publish(channel, "x");
      await eventually(() => expect(heard).to.deep.equal([expected, []]));
    });
  }

  it("keeps waiting commands if one command runs exactly at its deadline", async () => {
    const clock = new FakeClock();
    const { redis } = create({ clock });
    const client = redis.createClient({ commandTimeout: 1_000 });
    let late!: Promise<unknown>;
    clock.schedule(() => {
      redis.resume();
      redis.setLatency(100);
      late = client.ping();
    }, 1_000);
    redis.pause();
    const reply = client.set("a", "1");
    await clock.advance(1_100);
    expect(await Promise.all([reply, late])).to.deep.equal(["OK", "PONG"]);
  });

  it("rejects invalid options and faults", async () => {
    const sse = create({ clock: new FakeClock() });
    const wrong: readonly (() => unknown)[] = [
      () => createTestSse({ redis: "redis://127.0.0.1" } as never),
      () => createTestSse({ redis: sse.redis, clock: new FakeClock() }),
      () => createTestSse({ heartbeat: 1 } as never),
      () => sse.redis.stop({ commands: "drop" as never }),
      () => sse.redis.setLatency(-1),
      () => sse.redis.refuse("no"),
      () => sse.redis.refuse("NOPERM"),
      () => sse.redis.refuse("OOM", { channel: "" }),
      () => sse.redis.refuse("OOM", { chanel: "a" } as never),
    ];
    for (const attempt of wrong) {
      let fault: unknown = null;
      try {
        attempt();
      } catch (error) {
        fault = error;
      }
      expectFault(fault, "CONFIG", String(attempt));
    }
    await sse.publish("a", { data: 1 });
  });
});
