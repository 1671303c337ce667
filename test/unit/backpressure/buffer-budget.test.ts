import { expect } from "chai";

import { BufferBudget, type Waiting } from "../../../lib/backpressure/buffer-budget.js";

describe("BufferBudget", () => {
  let budget: BufferBudget;
  let order: string[];

  beforeEach(() => {
    budget = new BufferBudget(100);
    order = [];
  });

  it("lets exactly as much wait as it says", () => {
    budget.note(stream("one"), 100);
    expect(order).to.deep.equal([]);
    budget.note(stream("another"), 1);
    expect(order).to.deep.equal(["one"]);
  });

  it("has the stream give way for which most waits, not the one that came last", () => {
    budget.note(stream("small"), 20);
    budget.note(stream("large"), 60);
    budget.note(stream("last"), 30);
    expect(order).to.deep.equal(["large"]);
    expect(budget.bytes).to.equal(50);
    expect(budget.exceeded).to.equal(1);
  });

  it("has as many give way as it takes, one after the other", () => {
    for (const name of ["a", "b", "c", "d"])
      budget.note(
        stream(name, (bytes) => bytes - 5),
        25,
      );
    budget.note(stream("e"), 16);
    expect(order, "each by what waits for it").to.deep.equal(["a", "b", "c", "d"]);
    expect(budget.bytes).to.equal(96);
    expect(budget.exceeded).to.equal(4);
  });

  it("has another give way where the largest keeps what it has", () => {
    budget.note(
      stream("stubborn", (bytes) => bytes),
      60,
    );
    budget.note(stream("meek"), 30);
    budget.note(stream("last"), 20);
    expect(order).to.deep.equal(["stubborn", "meek"]);
    expect(budget.bytes).to.equal(80);
  });

  it("asks nobody twice, and comes to an end, when all keep what they have", () => {
    const all = ["a", "b", "c"].map((name) => stream(name, (bytes) => bytes));
    for (const each of all) budget.note(each, 40);
    expect(order).to.deep.equal(["a", "b", "c"]);
    expect(budget.bytes).to.equal(120);
    budget.note(all[0]!, 41);
    expect(order.slice(3), "with the next that waits, the one it waits for").to.deep.equal(["a"]);
    expect(budget.bytes).to.equal(121);
  });

  it("asks one again that has given a part, but of many that give nothing only those with news", () => {
    let calls = 0;
    const members = Array.from({ length: 10_000 }, () => {
      const member: Waiting = { relieve: () => void calls++ };
      budget.note(member, 1);
      return member;
    });
    const before = calls;
    expect(before, "each as it came, and all that came before it once").to.be.at.most(10_000);
    for (let bytes = 2; bytes < 102; bytes++) budget.note(members[5_000]!, bytes);
    expect(calls - before).to.equal(100);
    budget.note(stream("meek"), 50);
    expect(order, "one that can give is still found").to.deep.equal(["meek"]);
    expect(calls - before).to.equal(100);
    // What gives a part may give the rest.
    const slow = stream("slow", (bytes) => bytes - 1);
    budget.note(slow, 2);
    budget.note(stream("last"), 1);
    expect(order.slice(1)).to.deep.equal(["slow", "slow", "last"]);
  });

  it("comes to an end also when one has more than before", () => {
    budget.note(
      stream("greedy", (bytes) => bytes * 2),
      90,
    );
    budget.note(stream("last"), 20);
    expect(order).to.deep.equal(["greedy", "last"]);
    expect(budget.bytes).to.equal(180);
  });

  it("does not look again within itself: however many give way, one call is under way", () => {
    let depth = 0;
    let deepest = 0;
    for (let index = 0; index < 1_000; index++) {
      const member: Waiting = {
        relieve() {
          deepest = Math.max(deepest, ++depth);
          // It is a little that each has to give, and too much waits until nearly all have given it.
          budget.note(member, 0.05);
          depth--;
        },
      };
      budget.note(member, 0.1);
    }
    budget.note(
      stream("stubborn", (bytes) => bytes),
      49,
    );
    expect(deepest).to.equal(1);
    expect(budget.exceeded).to.be.greaterThan(900);
  });

  it("works on after one has thrown", () => {
    const broken: Waiting = {
      relieve() {
        throw new Error("its own fault");
      },
    };
    budget.note(broken, 90);
    expect(() => budget.note(stream("last"), 20)).to.throw("its own fault");
    budget.note(broken, 0);
    budget.note(stream("large"), 95);
    expect(order).to.deep.equal(["large"]);
    expect(budget.bytes).to.equal(20);
  });

  it("forgets a stream for which nothing waits: whoever has left is not asked", () => {
    const gone = stream("gone");
    budget.note(gone, 60);
    budget.note(gone, 0);
    budget.note(gone, 0);
    budget.note(stream("here"), 101);
    expect(order).to.deep.equal(["here"]);
    expect(budget.bytes).to.equal(0);
  });

  /** A stream that gives up all it has, or down to what `keep` says. */
  function stream(name: string, keep: (bytes: number) => number = () => 0): Waiting {
    const self: Waiting = {
      relieve() {
        order.push(name);
        budget.note(self, keep(held.get(self) ?? 0));
      },
    };
    return self;
  }

  const held = new Map<Waiting, number>();

  beforeEach(() => {
    held.clear();
    const note = budget.note.bind(budget);
    budget.note = (each, bytes) => {
      held.set(each, bytes);
      note(each, bytes);
    };
  });
});
