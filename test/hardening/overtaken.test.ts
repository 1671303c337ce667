import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { dataOf, gapsOf } from "../support/stream-harness.js";

describeFaults("events that overtake each other", (rig) => {
  it("keep the order of their publisher even if Redis has lost the script", async () => {
    const proxy = await rig.proxy();
    const one = rig.connect({ redis: proxy.url });
    const another = rig.connect();
    await one.publish("a", { data: 1 });
    await rig.server.admin.script("FLUSH");
    proxy.keepRepliesAt("evalsha");
    const overtaken = one.publish("a", { data: 2 });
    await eventually(() => expect(proxy.keptReplies).to.include("NOSCRIPT"));
    // The connection of this service is new, so it sends the script itself.
    await another.publish("a", { data: 3 });
    const overtaking = one.publish("a", { data: 4 });
    await eventually(() => expect(proxy.keptReplies).to.include("early"));
    proxy.release();
    expect((await overtaking).id).to.be.a("string");
    expect((await overtaken).id).to.be.a("string");
    const entries = (await rig.server.admin.xrange("sse:log:{a}", "-", "+")) as [string, string[]][];
    expect(entries.map(([, fields]) => fields[fields.indexOf("d") + 1])).to.deep.equal(["1", "3", "2", "4"]);
  });

  it("cause no gap event if they arrive live during a replay and the history then drops them", async () => {
    const proxy = await rig.proxy();
    const history = { channels: { a: { maxLength: 2 } } };
    const { open, openLive } = await rig.start({ redis: proxy.url, history });
    const publisher = rig.connect({ history });
    const before = await openLive("a");
    const other = await openLive("b");
    await publisher.publish("a", { data: 1 });
    const { id } = await before.next(({ data }) => data === "1");
    before.destroy();
    await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(0));

    proxy.holdAt("evalsha");
    const opening = open("a", id);
    await eventually(() => expect(proxy.heldAt).to.equal(1));
    for (const data of [2, 3, 4, 5]) await publisher.publish("a", { data });
    // Follows the others on the same connection.
    await publisher.publish("b", { data: "now" });
    await other.next(({ data }) => data === "now");
    proxy.release();

    const client = await opening;
    await client.next(({ data }) => data === "5");
    expect(gapsOf(client)).to.deep.equal([]);
    expect(dataOf(client)).to.deep.equal(["2", "3", "4", "5"]);
  });
});
