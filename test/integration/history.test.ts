import { expect } from "chai";
import { Redis } from "ioredis";

import { systemClock } from "../../lib/clock.js";
import { historyKeys } from "../../lib/history/history-keys.js";
import { LogPublisher } from "../../lib/history/log-publisher.js";
import { readFromLog } from "../../lib/history/history-scripts.js";
import { encodeEnvelope } from "../../lib/events/inbound-event.js";
import { describeHistory } from "../conformance/history-suite.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { expectFault, faultOf } from "../support/service.js";

for (const protocol of [2, 3] as const) {
  describeHistory(`a real server with RESP${protocol}`, async (context) => {
    const server = await RedisServer.start(await need("redis", context));
    return {
      connect: () => new Redis({ host: "127.0.0.1", port: server.port, protocol }),
      stop: () => server.stop(),
    };
  });
}

describe("history on a real server", () => {
  const PREFIX = "test:";
  const event = { event: undefined, data: "x" };
  let program: string;
  let server: RedisServer;
  let client: Redis;
  let mute: Redis | null = null;
  let channels = 0;
  let channel: string;

  before(async function () {
    program = await need("redis", this);
    server = await RedisServer.start(program);
    client = new Redis({ host: "127.0.0.1", port: server.port });
  });

  after(async () => {
    await client?.quit();
    await server?.stop();
  });

  beforeEach(() => {
    channel = `refused ${channels++}`;
  });

  afterEach(async () => {
    await mute?.quit();
    mute = null;
  });

  const publisherOver = (over: Redis): LogPublisher =>
    new LogPublisher({
      commands: () => over,
      clock: systemClock,
      keyPrefix: PREFIX,
      policy: () => ({ maxLength: 100, maxAgeMs: 60_000 }),
      encodeEnvelope,
    });

  /** The state of the channel in Redis. */
  const held = async (): Promise<unknown> => {
    const { position, log } = historyKeys(PREFIX, channel);
    return { fields: await client.hgetall(position), entries: await client.xrange(log, "-", "+") };
  };

  const read = (over: Redis, epoch = "") =>
    readFromLog(over, historyKeys(PREFIX, channel), {
      channel,
      epoch,
      after: 0,
      maxEvents: 10,
      maxBytes: 1_000,
      maxAgeMs: 60_000,
    });

  /** Connects as a user with all rights, except to publish on these channels. */
  const restricted = async (): Promise<Redis> => {
    await client.call("ACL", "SETUSER", "mute", "on", ">secret", "~*", "+@all", "resetchannels", "&other");
    mute = new Redis({ host: "127.0.0.1", port: server.port, username: "mute", password: "secret" });
    return mute;
  };

  it("reads the entries after an entry with invalid UTF-8 unchanged", async () => {
    await publisherOver(client).publish(channel, event);
    const { position, log } = historyKeys(PREFIX, channel);
    await client.xadd(log, "2", "e", "", "d", Buffer.from([0x78, 0xe2, 0x82]));
    await client.xadd(log, "3", "e", Buffer.from([0xf0]), "d", "whole");
    await client.hset(position, "o", "3");
    const { epoch } = await read(client);
    const { entries } = await read(client, epoch);
    expect(entries().map(({ offset, data }) => [offset, data])).to.deep.equal([
      [1, "x"],
      [2, "x\ufffd"],
      [3, "whole"],
    ]);
  });

  it("changes nothing if a Redis ACL rule denies the channel", async () => {
    const user = await restricted();
    const before = await held();
    expectFault(await faultOf(publisherOver(user).publish(channel, event)), "REDIS_REFUSED");
    expect(await held(), "of a channel that had nothing").to.deep.equal(before);
    const publisher = publisherOver(client);
    await publisher.publish(channel, event);
    const after = await held();
    const refused = publisherOver(user);
    expectFault(await faultOf(refused.publish(channel, event)), "REDIS_REFUSED");
    expect(await held(), "of a channel that has events").to.deep.equal(after);
    expectFault(await faultOf(refused.publish(channel, event, { ending: "completed" })), "REDIS_REFUSED");
    expect(await held(), "of a channel that completes").to.deep.equal(after);
    await client.call("ACL", "SETUSER", "mute", "allchannels");
    expect((await refused.publish(channel, event)).position?.offset, "once admitted").to.equal(2);
  });

  it("reads a channel without the right to publish, but does not mark it as broken", async () => {
    const user = await restricted();
    await publisherOver(client).publish(channel, event, { finite: true });
    await client.hset(historyKeys(PREFIX, channel).position, "w", "lease", "wt", "1");
    const before = await held();
    expect(await read(user)).to.deep.include({ top: 1, ending: "" });
    expect(await held()).to.deep.equal(before);
    expect(await read(client)).to.deep.include({ top: 2, ending: "broken" });
  });

  it("keeps the keys of a channel in one cluster slot, and in the channel's slot if its name allows it", async () => {
    // Only a cluster node answers CLUSTER KEYSLOT.
    const cluster = await RedisServer.start(program, ["--cluster-enabled", "yes"]);
    try {
      const slotOf = async (key: string): Promise<number> =>
        Number(await cluster.admin.call("CLUSTER", "KEYSLOT", key));
      const own = ["news", "a b", "{user1}:inbox", "x{tag}y{other}", "é🎉", "a{b}{", "{a{b}c"];
      const shared = ["{", "}", "{}", "a{}b", "a{b", "a}b", "{}{a}", "}{"];
      for (const name of [...own, ...shared]) {
        const { position, log } = historyKeys("redis-sse:", name);
        expect(await slotOf(position), `both keys of ${name}`).to.equal(await slotOf(log));
        if (own.includes(name))
          expect(await slotOf(position), `the slot of ${name}`).to.equal(await slotOf(name));
      }
    } finally {
      await cluster.stop();
    }
  });
});
