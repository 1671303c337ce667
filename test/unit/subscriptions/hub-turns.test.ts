import { expect } from "chai";

import { settle } from "../../support/eventually.js";
import { HubRig, type Member } from "./hub-rig.js";

describe("SubscriptionHub with several events in one tick", () => {
  let rig: HubRig;

  beforeEach(() => {
    rig = new HubRig();
  });

  /** Receives messages whose first letter is their channel. */
  function say(...messages: readonly string[]): void {
    for (const message of messages) rig.say(message[0]!, message);
  }

  function inOneTurn(...messages: readonly string[]): void {
    say(...messages);
    rig.hub.flush();
  }

  function members(...channels: readonly (readonly string[])[]): Promise<Member[]> {
    return Promise.all(channels.map((names) => rig.member(...names)));
  }

  it("delivers the events at the end of the tick, after all promises and before any timer", async () => {
    const member = await rig.member("a");
    const order: string[] = [];
    member.onDeliver = ({ events }) => order.push(events.map(({ data }) => data).join(" "));
    say("a1", "a2", "a3");
    await Promise.resolve();
    order.push("promises");
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).to.deep.equal(["promises", "a1 a2 a3"]);
  });

  it("delivers the events at once if they exceed the batch limit, then counts from zero again", async () => {
    const member = await rig.member("a");
    const half = `a${"x".repeat(128 * 1_024 - 1)}`;
    for (let turn = 1; turn <= 2; turn++) {
      say(half, half);
      expect(member.heard, "exactly the limit").to.have.length(turn - 1);
      say("a!");
      expect(member.heard).to.have.length(turn);
    }
    await settle();
    expect(member.heard).to.deep.equal(Array(2).fill(`${half} ${half} a!`));
  });

  it("reads each message once, in the order of arrival, for all members", async () => {
    await members(["a"], ["a", "b"], ["b", "c"]);
    inOneTurn("c1", "a1", "b1", "a2");
    expect(rig.reads).to.deep.equal(["c1", "a1", "b1", "a2"]);
  });

  it("delivers the other events if one message is malformed or cannot be read", async () => {
    const [alone, both] = await members(["a"], ["a", "b"]);
    for (const odd of ["malformed", "bug"]) rig.message("a", odd);
    expect([alone!.calls, both!.calls], "no call without an event").to.deep.equal([[], []]);
    rig.say("a", "a1", "malformed", "bug");
    rig.say("b", "malformed");
    rig.say("a", "a2");
    rig.hub.flush();
    expect(alone!.heard).to.deep.equal(["a1 a2"]);
    expect(both!.heard).to.deep.equal(["a1", "a2"]);
    expect(rig.hub.statistics).to.include({ memberFaults: 2 });
  });

  describe("member of one channel", () => {
    it("gets the same batch as all other members, without cork(), also with events of other channels in between", async () => {
      const [first, ...others] = await members(["a"], ["a"], ["a"], ["a", "b"], ["b"]);
      inOneTurn("a1", "b1", "a2");
      expect(first!.calls).to.deep.equal(["a1 a2"]);
      expect(first!.batches[0]!.isShared).to.equal(true);
      for (const other of others.slice(0, 2)) expect(other.batches).to.have.ordered.members(first!.batches);
    });

    it("gets a batch that is not shared if it is the only member", async () => {
      const member = await rig.member("a");
      inOneTurn("a1", "a2");
      expect(member.batches[0]!.isShared).to.equal(false);
    });
  });

  describe("member of several channels", () => {
    it("gets all events in order between cork() and uncork()", async () => {
      const member = await rig.member("a", "b", "c");
      inOneTurn("a1", "a2", "b1", "a3", "c1", "c2", "b2");
      expect(member.calls).to.deep.equal(["cork", "a1 a2", "b1", "a3", "c1 c2", "b2", "uncork"]);
    });

    it("gets one batch without cork() if only one of its channels has events", async () => {
      const member = await rig.member("a", "b");
      inOneTurn("a1", "a2");
      expect(member.calls).to.deep.equal(["a1 a2"]);
    });

    it("gets only events of its channels, in batches that it shares with members of the same channels", async () => {
      const [first, second, other] = await members(["a", "b"], ["a", "b"], ["b", "c"]);
      inOneTurn("a1", "b1", "c1", "a2");
      expect(first!.heard).to.deep.equal(["a1", "b1", "a2"]);
      expect(other!.heard).to.deep.equal(["b1", "c1"]);
      expect(second!.batches).to.have.ordered.members(first!.batches);
    });
  });

  describe("member that throws", () => {
    const FAULTS: Readonly<Record<string, (member: Member) => void>> = {
      "in deliver()": (member) => (member.onDeliver = fail),
      "in uncork()": (member) => (member.onUncork = fail),
      "in cork()": (member) => (member.onCork = fail),
    };
    for (const [where, breakIt] of Object.entries(FAULTS)) {
      it(`does not stop the others if it throws ${where}, and is counted`, async () => {
        const several = await members(["a", "b"], ["a", "b"], ["b", "a"]);
        const alone = await members(["a"], ["a"], ["b"]);
        breakIt(several[1]!);
        breakIt(alone[0]!);
        for (let turn = 0; turn < 2; turn++) inOneTurn("a1", "b1", "a2");
        const gathered = ["cork", "a1", "b1", "a2", "uncork"];
        // The member that throws also gets the next events and is uncorked.
        for (const each of several) expect(each.calls).to.deep.equal([...gathered, ...gathered]);
        expect(alone[1]!.heard).to.deep.equal(["a1 a2", "a1 a2"]);
        expect(alone[2]!.heard).to.deep.equal(["b1", "b1"]);
        expect(rig.hub.statistics.memberFaults).to.be.greaterThan(0);
      });
    }
  });

  it("delivers events that arrive during the delivery in the next tick", async () => {
    const member = await rig.member("a", "b");
    member.onDeliver = () => {
      member.onDeliver = () => {};
      say("b2", "a2");
    };
    inOneTurn("a1", "b1");
    expect(member.calls).to.deep.equal(["cork", "a1", "b1", "uncork"]);
    await settle(1);
    expect(member.calls.slice(4)).to.deep.equal(["cork", "b2", "a2", "uncork"]);
  });
});

function fail(): never {
  throw new Error("this member is broken");
}
