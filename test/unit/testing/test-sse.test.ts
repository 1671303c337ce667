import { expect } from "chai";

import { createTestSse, FakeClock, type TestSse, type TestSseOptions } from "../../../testing/index.js";
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

  it("shares data and channels with a service that has its redis, and with no other", async () => {
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

  it("keeps its data and its faults until the last service of its Redis is closed", async () => {
    const sse = create();
    const process = create({ redis: sse.redis });
    await process.pool.commands.set("key", "value");
    await sse.close();
    expect(await process.pool.commands.get("key")).to.equal("value");
    await process[Symbol.asyncDispose]();
    expect(await sse.redis.createClient().get("key")).to.equal(null);
  });

  it("has clients for an app that uses Redis itself, with pipelines and callbacks, to which faults apply", async () => {
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

  it("loses subscriptions with a connection, looks at its memory before the first write of a script, and expires keys by the clock", async () => {
    const clock = new FakeClock();
    const { redis } = create({ clock });
    const client = redis.createClient();
    const subscriber = redis.createClient();
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

  it("refuses options and faults that have no meaning", async () => {
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
