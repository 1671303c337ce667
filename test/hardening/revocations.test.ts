import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import type { FakeSink } from "../support/fake-sink.js";
import { describeFaults } from "../support/fault-rig.js";

const STREAMS = 10_000;

describeFaults("revocations", (rig) => {
  async function open(sse: RedisSse, key: string): Promise<FakeSink> {
    const sink = rig.sink();
    await sse.open({ key }, sink, "a");
    return sink;
  }

  it("are stored once if the answer of Redis is lost", async () => {
    const proxy = await rig.proxy();
    const caller = rig.connect({ redis: proxy.url });
    const sse = rig.connect();
    const sinks = [await open(sse, "ann"), await open(sse, "bob")];
    await eventually(async () => expect(await rig.server.receiversOf("sse:revocations")).to.equal(1));
    expect(await caller.revoke({ key: "bob" })).to.equal(1);
    // The answer of the script is an integer.
    proxy.cutInReply((reply) => (reply.toString().startsWith(":") ? 0 : -1));
    expect(await caller.revoke({ key: "ann" }, { forMs: 60_000 })).to.equal(1);
    expect(proxy.cutPending).to.equal(false);
    expect(await rig.server.admin.xlen("sse:revocations")).to.equal(2);
    for (const sink of sinks) expect(sink.text).to.include('{"reason":"revoked"}');
  });

  it(`end ${STREAMS} streams in many turns`, async () => {
    const sse = rig.connect({ limits: { maxSessionsPerKey: STREAMS } });
    const sinks: FakeSink[] = [];
    for (let count = 0; count < STREAMS; count++) sinks.push(await open(sse, "ann"));
    const others = await Promise.all(Array.from({ length: 10 }, () => open(sse, "bob")));
    const ended = (): number => sinks.filter((sink) => sink.ended).length;
    expect(await sse.revoke({ key: "ann" })).to.equal(STREAMS);
    const between = new Set<number>();
    await eventually(() => {
      between.add(ended());
      expect(ended()).to.equal(STREAMS);
    }, 10_000);
    expect(between.size).to.be.greaterThan(3);
    for (const { ended: isOver } of others) expect(isOver).to.equal(false);
  });

  it("are all read although another program has written many entries with the same time, and each entry once", async () => {
    const { admin } = rig.server;
    const early = rig.connect();
    const sink = await open(early, "bob");
    await eventually(async () => expect(await rig.server.receiversOf("sse:revocations")).to.equal(1));
    const pipeline = admin.pipeline();
    for (let index = 0; index < 1_201; index++) pipeline.xadd("sse:revocations", `5-${index}`, "r", "text");
    await pipeline.exec();
    await admin.publish("sse:revocations", "");
    const caller = rig.connect();
    const late = rig.connect();
    // Both processes have read all entries.
    await Promise.all([early, late].map((sse) => sse.tickets.issue({ channels: "a" })));
    expect(await caller.revoke({ key: "bob" })).to.equal(1);
    await eventually(() => expect(sink.text).to.include('{"reason":"revoked"}'));
    const reads = await rig.server.callsOf("xrange");
    await eventually(async () => expect((await early.status()).revocations.applied).to.equal(1));
    await late.tickets.issue({ channels: "a" });
    expect((await late.status()).revocations.applied).to.equal(1);
    expect((await rig.server.callsOf("xrange")) - reads).to.be.lessThan(3);
  });
});
