import { expect } from "chai";

import { settle } from "../../support/eventually.js";
import { HubRig, Member } from "./hub-rig.js";

describe("SubscriptionHub, the messages of one turn", () => {
  let rig: HubRig;

  beforeEach(() => {
    rig = new HubRig();
  });

  /** Messages come whose first letter is their channel. */
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

  it("are passed on at its end, behind all promises, and wait for no timer", async () => {
    const member = await rig.member("a");
    const order: string[] = [];
    member.onDeliver = ({ events }) => order.push(events.map(({ data }) => data).join(" "));
    say("a1", "a2", "a3");
    await Promise.resolve();
    order.push("promises");
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).to.deep.equal(["promises", "a1 a2 a3"]);
  });

  it("are passed on at once where they are more than may be gathered, which is counted anew then", async () => {
    const member = await rig.member("a");
    const half = `a${"x".repeat(128 * 1_024 - 1)}`;
    for (let turn = 1; turn <= 2; turn++) {
      say(half, half);
      expect(member.heard, "as much as may be").to.have.length(turn - 1);
      say("a!");
      expect(member.heard).to.have.length(turn);
    }
    await settle();
    expect(member.heard).to.deep.equal(Array(2).fill(`${half} ${half} a!`));
  });

  it("are read once, in the order in which they came, whoever gets them", async () => {
    await members(["a"], ["a", "b"], ["b", "c"]);
    inOneTurn("c1", "a1", "b1", "a2");
    expect(rig.reads).to.deep.equal(["c1", "a1", "b1", "a2"]);
  });

  it("are not lost to one that cannot be read, or is none", async () => {
    const [alone, both] = await members(["a"], ["a", "b"]);
    for (const odd of ["malformed", "bug"]) rig.message("a", odd);
    expect([alone!.calls, both!.calls], "nobody is called for nothing").to.deep.equal([[], []]);
    rig.say("a", "a1", "malformed", "bug");
    rig.say("b", "malformed");
    rig.say("a", "a2");
    rig.hub.flush();
    expect(alone!.heard).to.deep.equal(["a1 a2"]);
    expect(both!.heard).to.deep.equal(["a1", "a2"]);
    expect(rig.hub.statistics).to.include({ memberFaults: 2 });
  });

  describe("for who has one channel", () => {
    it("are the same batch as for all others", async () => {
      const [first, ...others] = await members(["a"], ["a"], ["a"], ["b"]);
      inOneTurn("a1", "b1", "a2");
      expect(first!.batches).to.have.length(1);
      expect(first!.batches[0]!.isShared).to.equal(true);
      for (const other of others.slice(0, 2)) expect(other.batches).to.have.ordered.members(first!.batches);
    });

    it("are a batch that is shared with nobody where it is the only member", async () => {
      const member = await rig.member("a");
      inOneTurn("a1", "a2");
      expect(member.batches[0]!.isShared).to.equal(false);
    });

    it("are one batch, whatever came between them, and it is not told to gather", async () => {
      const [member] = await members(["a"], ["a", "b"]);
      inOneTurn("a1", "b1", "a2");
      expect(member!.calls).to.deep.equal(["a1 a2"]);
    });
  });

  describe("for who has several channels", () => {
    it("come in their order, gathered for one write", async () => {
      const member = await rig.member("a", "b", "c");
      inOneTurn("a1", "a2", "b1", "a3", "c1", "c2", "b2");
      expect(member.calls).to.deep.equal(["cork", "a1 a2", "b1", "a3", "c1 c2", "b2", "uncork"]);
    });

    it("are not gathered where only one of them said something", async () => {
      const member = await rig.member("a", "b");
      inOneTurn("a1", "a2");
      expect(member.calls).to.deep.equal(["a1 a2"]);
    });

    it("are only its own, in batches that it shares with those of the same channels", async () => {
      const [first, second, other] = await members(["a", "b"], ["a", "b"], ["b", "c"]);
      inOneTurn("a1", "b1", "c1", "a2");
      expect(first!.heard).to.deep.equal(["a1", "b1", "a2"]);
      expect(other!.heard).to.deep.equal(["b1", "c1"]);
      expect(second!.batches).to.have.ordered.members(first!.batches);
    });

    it("come as one batch again once it has but one channel left", async () => {
      const [member] = await members(["a"], ["b"]);
      const heard = (): readonly string[] => {
        const { length } = member!.heard;
        inOneTurn("a1", "b1", "a2");
        return member!.heard.slice(length);
      };
      expect(heard()).to.deep.equal(["a1 a2"]);
      await rig.hub.join("b", member!);
      expect(heard()).to.deep.equal(["a1", "b1", "a2"]);
      rig.hub.leave("a", member!);
      expect(heard()).to.deep.equal(["b1"]);
      await rig.hub.join("a", member!);
      expect(heard()).to.deep.equal(["a1", "b1", "a2"]);
      rig.hub.leave("b", member!);
      expect(heard()).to.deep.equal(["a1 a2"]);
    });
  });

  describe("and a member that throws", () => {
    const FAULTS: Readonly<Record<string, (member: Member) => void>> = {
      "when it is given events": (member) => (member.onDeliver = fail),
      "when it is to write": (member) => (member.onUncork = fail),
      "when it is to gather": (member) => (member.onCork = fail),
    };
    for (const [when, breakIt] of Object.entries(FAULTS)) {
      it(`${when} keeps nothing from the others, and is counted`, async () => {
        const several = await members(["a", "b"], ["a", "b"], ["b", "a"]);
        const alone = await members(["a"], ["a"], ["b"]);
        breakIt(several[1]!);
        breakIt(alone[0]!);
        for (let turn = 0; turn < 2; turn++) inOneTurn("a1", "b1", "a2");
        const gathered = ["cork", "a1", "b1", "a2", "uncork"];
        // The one that throws as well: it is given the next all the same, and is not left gathering.
        for (const each of several) expect(each.calls).to.deep.equal([...gathered, ...gathered]);
        expect(alone[1]!.heard).to.deep.equal(["a1 a2", "a1 a2"]);
        expect(alone[2]!.heard).to.deep.equal(["b1", "b1"]);
        expect(rig.hub.statistics.memberFaults).to.be.greaterThan(0);
      });
    }
  });

  describe("while they are passed on", () => {
    const leave = (member: Member, ...names: readonly string[]): void =>
      names.forEach((name) => rig.hub.leave(name, member));

    it("are given no more to a member that leaves, which writes what it has gathered", async () => {
      const [first, last] = await members(["a", "b"], ["a", "b"]);
      first!.onDeliver = ({ last: { data } }) => {
        if (data === "b1") leave(first!, "a", "b");
      };
      inOneTurn("a1", "b1", "a2", "b2");
      expect(first!.calls).to.deep.equal(["cork", "a1", "b1", "uncork"]);
      expect(last!.calls).to.deep.equal(["cork", "a1", "b1", "a2", "b2", "uncork"]);
    });

    for (const [of, names, beside] of [
      ["several channels", ["a", "b"], []],
      ["one channel", ["a"], []],
      ["one channel, beside one of several", ["a"], [["a", "b"]]],
    ] as const) {
      it(`are given, before it leaves, to a member of ${of} that another one makes leave`, async () => {
        const [first, second] = await members(names, names, ...beside);
        first!.onDeliver = () => leave(second!, ...names);
        inOneTurn(...names.map((name) => `${name}1`));
        expect(first!.heard).to.deep.equal(names.map((name) => `${name}1`));
        expect(second!.heard).to.deep.equal(first!.heard);
      });
    }

    it("are given on the channel that is left to a member, which then has it alone", async () => {
      const [member] = await members(["a", "b"], ["a"], ["b", "a"]);
      member!.onDeliver = () => leave(member!, "b");
      inOneTurn("a1", "b1", "a2");
      expect(member!.heard).to.deep.equal(["a1", "a2"]);
      member!.onDeliver = () => {};
      inOneTurn("a3", "b3", "a4");
      expect(member!.heard.slice(2)).to.deep.equal(["a3 a4"]);
    });

    // Those who have a channel alone get it first.
    for (const isFirst of [true, false]) {
      it(`are all given to who has its other channel taken away by another one, the ${isFirst ? "first" : "last"} to join`, async () => {
        const first = isFirst ? await rig.member("a") : null;
        const member = await rig.member("a", "b");
        const other = first ?? (await rig.member("a"));
        other.onDeliver = () => leave(member, "b");
        inOneTurn("a1", "b1", "a2");
        expect(member.heard.join(" ")).to.equal("a1 b1 a2");
      });
    }

    it("are not given twice to a member that gets another channel, nor what came before that", async () => {
      const [member] = await members(["a"], ["a", "b"], ["b", "c"]);
      member!.onDeliver = () => void rig.hub.join("b", member!);
      inOneTurn("a1", "b1", "a2");
      expect(member!.heard).to.deep.equal(["a1 a2"]);
      member!.onDeliver = () => {};
      inOneTurn("a3", "b3", "a4");
      expect(member!.heard.slice(1)).to.deep.equal(["a3", "b3", "a4"]);
    });

    it("are not given to who joins meanwhile", async () => {
      const [first] = await members(["a"], ["a"]);
      const late = new Member();
      first!.onDeliver = () => void rig.hub.join("a", late);
      inOneTurn("a1");
      expect(late.heard).to.deep.equal([]);
      inOneTurn("a2");
      expect(late.heard).to.deep.equal(["a2"]);
    });

    it("may be followed by others, which come with the next turn", async () => {
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
});

function fail(): never {
  throw new Error("this member is broken");
}
