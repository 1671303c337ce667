import { expect } from "chai";

import type { EventBatch } from "../../../lib/events/event-batch.js";
import { FanOut, type Audience, type HubMember } from "../../../lib/subscriptions/fan-out.js";
import { settle } from "../../support/eventually.js";
import { plainEvent } from "../../support/inbound-events.js";

describe("FanOut", () => {
  let audiences: Map<string, Audience>;
  let reads: string[];
  let fanOut: FanOut<Audience>;

  beforeEach(() => {
    audiences = new Map();
    reads = [];
    fanOut = new FanOut((channel, message) => {
      reads.push(message);
      if (message === "bug") throw new Error("a bug");
      return message === "malformed" ? null : plainEvent(channel.name, message);
    });
  });

  it("loses no other message to one that cannot be read", async () => {
    const member = listener("a");
    say("a1");
    fanOut.add(audienceOf("a"), "bug");
    say("a2");
    await settle(1);
    expect(member.calls).to.deep.equal(["a1 a2"]);
    expect(fanOut.memberFaults).to.equal(1);
    say("a3");
    await settle(1);
    expect(member.calls).to.deep.equal(["a1 a2", "a3"]);
  });

  it("passes messages on at the end of the turn, behind all promises, and waits for no timer", async () => {
    const order: string[] = [];
    listener("a").onDeliver = ({ events }) => order.push(events.map(({ data }) => data).join(" "));
    say("a1", "a2", "a3");
    await Promise.resolve();
    order.push("promises");
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).to.deep.equal(["promises", "a1 a2 a3"]);
  });

  it("passes on at once all that a turn brought where it is more than may be gathered, and counts anew", async () => {
    const member = listener("a");
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

  describe("who has one channel", () => {
    it("gets the same batch as all others", () => {
      const members = [listener("a"), listener("a"), listener("a")];
      listener("b");
      inOneTurn("a1", "b1", "a2");
      const [batch] = members[0]!.batches;
      for (const member of members) {
        expect(member.batches).to.have.length(1);
        expect(member.batches[0]).to.equal(batch);
      }
      expect(batch!.isShared).to.equal(true);
    });

    it("and is its only member gets a batch that is shared with nobody", () => {
      const member = listener("a");
      inOneTurn("a1", "a2");
      expect(member.batches[0]!.isShared).to.equal(false);
    });

    it("gets its messages of the turn as one batch, whatever came between them, and is not told to gather", () => {
      const member = listener("a");
      listener("a", "b");
      inOneTurn("a1", "b1", "a2");
      expect(member.calls).to.deep.equal(["a1 a2"]);
    });
  });

  describe("who has several channels", () => {
    it("gets them in the order in which they came, gathered for one write", () => {
      const member = listener("a", "b", "c");
      inOneTurn("a1", "a2", "b1", "a3", "c1", "c2", "b2");
      expect(member.calls).to.deep.equal(["cork", "a1 a2", "b1", "a3", "c1 c2", "b2", "uncork"]);
    });

    it("is not told to gather where only one of them said something", () => {
      const member = listener("a", "b");
      inOneTurn("a1", "a2");
      expect(member.calls).to.deep.equal(["a1 a2"]);
    });

    it("gets only what is its own", () => {
      const [first, second] = [listener("a", "b"), listener("b", "c")];
      inOneTurn("a1", "b1", "c1", "a2");
      expect(first.heard).to.deep.equal(["a1", "b1", "a2"]);
      expect(second.heard).to.deep.equal(["b1", "c1"]);
    });

    it("shares its batches with those of the same channels", () => {
      const [first, second] = [listener("a", "b"), listener("a", "b")];
      inOneTurn("a1", "b1", "a2");
      expect(first.batches).to.have.length(3);
      for (const [index, batch] of first.batches.entries()) {
        expect(second.batches[index]).to.equal(batch);
        expect(batch.isShared).to.equal(true);
      }
    });
  });

  it("reads each message once, in the order in which they came, whoever gets them", () => {
    listener("a");
    listener("a", "b");
    listener("b", "c");
    inOneTurn("c1", "a1", "b1", "a2");
    expect(reads).to.deep.equal(["c1", "a1", "b1", "a2"]);
  });

  it("does not read what nobody listens to any more", () => {
    const member = listener("a");
    say("a1");
    leave(member, "a");
    fanOut.flush();
    expect(reads).to.deep.equal([]);
  });

  it("leaves out messages that are none, and calls nobody for a turn of nothing else", () => {
    const [alone, both] = [listener("a"), listener("a", "b")];
    const [a, b] = [audienceOf("a"), audienceOf("b")];
    fanOut.add(a, "malformed");
    fanOut.add(b, "malformed");
    fanOut.flush();
    expect([alone.calls, both.calls]).to.deep.equal([[], []]);
    fanOut.add(a, "a1");
    fanOut.add(a, "malformed");
    fanOut.add(b, "malformed");
    fanOut.add(a, "a2");
    fanOut.flush();
    expect(alone.heard).to.deep.equal(["a1 a2"]);
    expect(both.heard).to.deep.equal(["a1", "a2"]);
  });

  describe("a member that throws", () => {
    const FAULTS: Readonly<Record<string, (member: Member) => void>> = {
      "when it is given events": (member) => (member.onDeliver = fail),
      "when it is to write": (member) => (member.onUncork = fail),
      "when it is to gather": (member) => (member.onCork = fail),
    };
    for (const [when, breakIt] of Object.entries(FAULTS)) {
      it(`${when} keeps nothing from the others, and is counted`, () => {
        const several = [listener("a", "b"), listener("a", "b"), listener("b", "a")];
        const alone = [listener("a"), listener("a"), listener("b")];
        breakIt(several[1]!);
        breakIt(alone[0]!);
        for (let turn = 0; turn < 2; turn++) inOneTurn("a1", "b1", "a2");
        const gathered = ["cork", "a1", "b1", "a2", "uncork"];
        for (const index of [0, 2]) expect(several[index]!.calls).to.deep.equal([...gathered, ...gathered]);
        expect(
          several[1]!.calls.filter((call) => call === "uncork"),
          "it is not left gathering",
        ).to.have.length(2);
        expect(alone[1]!.heard).to.deep.equal(["a1 a2", "a1 a2"]);
        expect(alone[2]!.heard).to.deep.equal(["b1", "b1"]);
        expect(fanOut.memberFaults).to.be.greaterThan(0);
      });
    }

    it("is given the next all the same", () => {
      const member = listener("a", "b");
      member.onDeliver = ({ last }) => {
        if (last.data === "a1") fail();
      };
      inOneTurn("a1", "b1", "a2");
      expect(member.heard).to.deep.equal(["a1", "b1", "a2"]);
      expect(fanOut.memberFaults).to.equal(1);
    });
  });

  describe("while it passes a turn on", () => {
    it("gives nothing more to a member that leaves, and lets it write what it has gathered", () => {
      const [first, last] = [listener("a", "b"), listener("a", "b")];
      first.onDeliver = ({ last: { data } }) => {
        if (data === "b1") leave(first, "a", "b");
      };
      inOneTurn("a1", "b1", "a2", "b2");
      expect(first.calls).to.deep.equal(["cork", "a1", "b1", "uncork"]);
      expect(last.calls).to.deep.equal(["cork", "a1", "b1", "a2", "b2", "uncork"]);
    });

    it("gives nothing to a member that another one makes leave", () => {
      const [first, second] = [listener("a", "b"), listener("a", "b")];
      first.onDeliver = () => leave(second, "a", "b");
      inOneTurn("a1", "b1");
      expect(first.heard).to.deep.equal(["a1", "b1"]);
      expect(second.heard).to.deep.equal([]);
    });

    it("gives nothing to a member that another one makes leave, of those who have the channel alone", () => {
      for (const isBesideSeveral of [false, true]) {
        audiences.clear();
        const [first, second] = [listener("a"), listener("a")];
        if (isBesideSeveral) listener("a", "b");
        first.onDeliver = () => leave(second, "a");
        inOneTurn("a1");
        expect([first.heard, second.heard]).to.deep.equal([["a1"], []]);
      }
    });

    it("goes on with the channel that is left to a member, which then has it alone", () => {
      const member = listener("a", "b");
      listener("a");
      listener("b", "a");
      member.onDeliver = () => leave(member, "b");
      inOneTurn("a1", "b1", "a2");
      expect(member.heard).to.deep.equal(["a1", "a2"]);
      member.onDeliver = () => {};
      inOneTurn("a3", "b3", "a4");
      expect(member.heard.slice(2)).to.deep.equal(["a3 a4"]);
    });

    it("keeps nothing from a member that another one, who has its channel alone, takes the other channel from", () => {
      // In either order: those who have it alone get it first.
      for (const isFirst of [true, false]) {
        audiences.clear();
        const other = isFirst ? listener("a") : null;
        const member = listener("a", "b");
        (other ?? listener("a")).onDeliver = () => leave(member, "b");
        inOneTurn("a1", "b1", "a2");
        expect(member.heard.join(" "), `the other is ${isFirst ? "first" : "last"}`).to.equal("a1 a2");
      }
    });

    it("gives nothing twice to a member that gets another channel, and nothing that came before that", () => {
      const member = listener("a");
      listener("a", "b");
      listener("b", "c");
      member.onDeliver = () => join(member, "b");
      inOneTurn("a1", "b1", "a2");
      expect(member.heard).to.deep.equal(["a1 a2"]);
      member.onDeliver = () => {};
      inOneTurn("a3", "b3", "a4");
      expect(member.heard.slice(1)).to.deep.equal(["a3", "b3", "a4"]);
    });

    it("takes messages, which come with the next turn", async () => {
      const member = listener("a", "b");
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

  class Member implements HubMember {
    readonly batches: EventBatch[] = [];
    readonly calls: string[] = [];
    onDeliver: (batch: EventBatch) => void = () => {};
    onCork: () => void = () => {};
    onUncork: () => void = () => {};

    /** The data of each batch. */
    get heard(): readonly string[] {
      return this.calls.filter((call) => !call.endsWith("cork"));
    }

    deliver(batch: EventBatch): void {
      this.batches.push(batch);
      this.calls.push(batch.events.map(({ data }) => data).join(" "));
      this.onDeliver(batch);
    }

    cork(): void {
      this.calls.push("cork");
      this.onCork();
    }

    uncork(): void {
      this.calls.push("uncork");
      this.onUncork();
    }

    interrupted(): void {}
    refused(): void {}
  }

  function audienceOf(name: string): Audience {
    let audience = audiences.get(name);
    if (audience === undefined) {
      audience = { name, members: new Set(), several: new Set(), part: null };
      audiences.set(name, audience);
    }
    return audience;
  }

  function listener(...names: readonly string[]): Member {
    const member = new Member();
    join(member, ...names);
    return member;
  }

  function join(member: Member, ...names: readonly string[]): void {
    for (const name of names) audienceOf(name).members.add(member);
    sort(member);
  }

  function leave(member: Member, ...names: readonly string[]): void {
    for (const name of names) audienceOf(name).members.delete(member);
    sort(member);
  }

  /** As its owner does: `several` are those with more than one channel. */
  function sort(member: Member): void {
    const own = [...audiences.values()].filter(({ members }) => members.has(member));
    for (const { several, members } of audiences.values()) {
      if (own.length > 1 && members.has(member)) several?.add(member);
      else several?.delete(member);
    }
  }

  /** Messages come whose first letter is their channel. */
  function say(...messages: readonly string[]): void {
    for (const message of messages) fanOut.add(audienceOf(message[0]!), message);
  }

  function inOneTurn(...messages: readonly string[]): void {
    say(...messages);
    fanOut.flush();
  }
});

function fail(): never {
  throw new Error("this member is broken");
}
