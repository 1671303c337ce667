import { expect } from "chai";

import { Slices } from "../../../lib/slices.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { oneStepSlices } from "../../support/one-step-slices.js";
import { dataOf, TurnRig, type TurnStream } from "../../support/turn-rig.js";

const WAYS = {
  "all streams in one turn": () => new Slices(new FakeClock()),
  "slices of one step": oneStepSlices,
};

for (const [way, slices] of Object.entries(WAYS)) {
  describe(`PubSubSession whose events arrive in ${way}`, () => {
    it("gets the plain messages that arrived before the end of its channel, if it reads this end first", async () => {
      const rig = new TurnRig("shared", slices());
      for (let count = 1; count <= 20; count++) await rig.live(["a"]);
      const stream = await rig.live(["log"]);
      const reading = deferred();
      rig.logs.before = () => reading.promise;
      rig.logs.append("log");
      rig.log("log");
      await settle(100);
      rig.say("a", "busy");
      rig.say("log", "plain");
      rig.log("log", { ending: "completed" });
      rig.hub.flush();
      reading.resolve();
      await stream.session.closed;
      expect(stream.session.closeReason).to.equal("completed");
      expect(dataOf(stream)).to.have.members(["log1", "log2", "plain", "log3"]);
      await rig.close();
    });

    it("reads what it missed while Redis was away, while others join, leave and close", async () => {
      const rig = new TurnRig("shared", slices());
      const names = Array.from({ length: 10 }, (_, index) => `log:${index}`);
      const streams: TurnStream[] = [];
      for (const name of names) for (let count = 1; count <= 2; count++) streams.push(await rig.live([name]));
      const both = await rig.live(["log:3", "log:4"]);
      for (const name of names) rig.log(name);
      await rig.quiet();
      rig.redis.drops();
      for (const name of names) for (let count = 2; count <= 3; count++) rig.logs.append(name);
      rig.redis.returns();
      // The hub sends one SUBSCRIBE for all channels.
      await settle(1);
      expect(rig.redis.answerOne()).to.equal(true);
      await settle(2);
      const closed = streams[0]!.session.close();
      const joined = rig.open(["log:5"]);
      const removed = both.session.removeChannel("log:3");
      for (const name of names) rig.log(name);
      await rig.quiet();
      await settle(200);
      for (const name of names) rig.log(name);
      await settle(200);
      await Promise.all([closed, removed, joined.started]);

      const expected = (name: string): readonly string[] => [1, 2, 3, 4, 5].map((offset) => name + offset);
      for (const [index, stream] of streams.entries()) {
        if (index > 0) expect(dataOf(stream)).to.deep.equal(expected(names[index >> 1]!));
      }
      const own = dataOf(both).filter((data) => data.startsWith("log:4"));
      expect(own).to.deep.equal(expected("log:4"));
      const left = dataOf(both).filter((data) => data.startsWith("log:3"));
      expect(left).to.deep.equal(expected("log:3").slice(0, left.length));
      expect(left.length).to.be.lessThan(5);
      expect(dataOf(streams[0]!)).to.deep.equal(expected("log:0").slice(0, dataOf(streams[0]!).length));
      expect(dataOf(joined).at(-1)).to.equal("log:55");
      expect(rig.gaps).to.deep.equal([]);
      await rig.close();
    });
  });
}

describe("PubSubSession after Redis was away", () => {
  it("does not read its history in the same turn as all other streams", async () => {
    const rig = new TurnRig("shared");
    const names = Array.from({ length: 40 }, (_, index) => `log:${index}`);
    for (const name of names) await rig.live([name]);
    rig.redis.drops();
    rig.redis.returns();
    await settle(1);
    rig.redis.answerOne();
    const before = rig.logs.reads;
    const reads: number[] = [];
    for (let last = before; last < before + names.length; last = rig.logs.reads) {
      await settle(1);
      reads.push(rig.logs.reads - last);
    }
    expect(Math.max(...reads)).to.be.at.most(32);
    await rig.close();
  });
});
