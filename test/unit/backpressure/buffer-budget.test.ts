import { expect } from "chai";

import { BufferBudget, type Waiting } from "../../../lib/backpressure/buffer-budget.js";

describe("BufferBudget", () => {
  let budget: BufferBudget;
  let order: string[];

  beforeEach(() => {
    budget = new BufferBudget(100);
    order = [];
  });

  it("allows exactly the given number of bytes", () => {
    budget.note(stream("one"), 100);
    expect(order).to.deep.equal([]);
    budget.note(stream("another"), 1);
    expect(order).to.deep.equal(["one"]);
  });

  it("relieves the stream with the largest buffer, not the newest one", () => {
    budget.note(stream("small"), 20);
    budget.note(stream("large"), 60);
    budget.note(stream("last"), 30);
    expect(order).to.deep.equal(["large"]);
    expect(budget.bytes).to.equal(50);
    expect(budget.exceeded).to.equal(1);
  });

  it("relieves as many streams as necessary, one after another", () => {
    for (const name of ["a", "b", "c", "d"])
      budget.note(
        stream(name, (bytes) => bytes - 5),
        25,
      );
    budget.note(stream("e"), 16);
    expect(order, "in the order of their buffers").to.deep.equal(["a", "b", "c", "d"]);
    expect(budget.bytes).to.equal(96);
    expect(budget.exceeded).to.equal(4);
  });

  it("calls each stream only once if no stream drops anything", () => {
    const all = ["a", "b", "c"].map((name) => stream(name, (bytes) => bytes));
    for (const each of all) budget.note(each, 40);
    expect(order).to.deep.equal(["a", "b", "c"]);
    expect(budget.bytes).to.equal(120);
    budget.note(all[0]!, 41);
    expect(order.slice(3), "only the stream with a new size").to.deep.equal(["a"]);
    expect(budget.bytes).to.equal(121);
  });

  it("calls a stream again if it dropped a part, or if its size has changed", () => {
    let calls = 0;
    const members = Array.from({ length: 10_000 }, () => {
      const member: Waiting = { relieve: () => void calls++ };
      budget.note(member, 1);
      return member;
    });
    const before = calls;
    expect(before, "each stream once").to.be.at.most(10_000);
    for (let bytes = 2; bytes < 102; bytes++) budget.note(members[5_000]!, bytes);
    expect(calls - before).to.equal(100);
    budget.note(stream("meek"), 50);
    expect(order, "a stream that can drop events is still found").to.deep.equal(["meek"]);
    expect(calls - before).to.equal(100);
    // A stream that dropped a part may drop the rest.
    const slow = stream("slow", (bytes) => bytes - 1);
    budget.note(slow, 2);
    budget.note(stream("last"), 1);
    expect(order.slice(1)).to.deep.equal(["slow", "slow", "last"]);
  });

  it("ends also if a stream grows when it is relieved", () => {
    budget.note(
      stream("greedy", (bytes) => bytes * 2),
      90,
    );
    budget.note(stream("last"), 20);
    expect(order).to.deep.equal(["greedy", "last"]);
    expect(budget.bytes).to.equal(180);
  });

  it("does not call relieve() recursively", () => {
    let depth = 0;
    let deepest = 0;
    for (let index = 0; index < 1_000; index++) {
      const member: Waiting = {
        relieve() {
          deepest = Math.max(deepest, ++depth);
          // Each stream drops a little, so nearly all of them must be relieved.
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

  it("works after a stream has thrown", () => {
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

  it("forgets a stream with an empty buffer", () => {
    const gone = stream("gone");
    budget.note(gone, 60);
    budget.note(gone, 0);
    budget.note(gone, 0);
    budget.note(stream("here"), 101);
    expect(order).to.deep.equal(["here"]);
    expect(budget.bytes).to.equal(0);
  });

  /** Returns a stream that drops its whole buffer, or all but `keep` bytes. */
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
