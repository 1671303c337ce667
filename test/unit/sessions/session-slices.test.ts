import { expect } from "chai";

import { Slices } from "../../../lib/slices.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { oneStepSlices } from "../../support/one-step-slices.js";
import { dataOf, TurnRig } from "../../support/turn-rig.js";

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
  });
}
