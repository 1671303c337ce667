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

  it(`end ${STREAMS} streams in many turns, within a second`, async () => {
    const sse = rig.connect({ limits: { maxSessionsPerKey: STREAMS } });
    const sinks: FakeSink[] = [];
    for (let count = 0; count < STREAMS; count++) sinks.push(await open(sse, "ann"));
    const others = await Promise.all(Array.from({ length: 10 }, () => open(sse, "bob")));
    const ended = (): number => sinks.filter((sink) => sink.ended).length;
    const startedAt = Date.now();
    expect(await sse.revoke({ key: "ann" })).to.equal(STREAMS);
    const between = new Set<number>();
    await eventually(() => {
      between.add(ended());
      expect(ended()).to.equal(STREAMS);
    }, 10_000);
    expect(between.size).to.be.greaterThan(3);
    expect(Date.now() - startedAt).to.be.lessThan(1_000);
    for (const { ended: isOver } of others) expect(isOver).to.equal(false);
  });
});
