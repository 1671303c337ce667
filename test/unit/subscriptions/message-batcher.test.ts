import { expect } from "chai";

import { MessageBatcher, type MessageRun } from "../../../lib/subscriptions/fan-out.js";
import { settle } from "../../support/eventually.js";

/** How much text is gathered at most. */
const BOUND = 256 * 1024;

describe("MessageBatcher", () => {
  let handedOver: string[][];
  let onTurn: (runs: readonly MessageRun<string>[]) => void;
  let buffer: MessageBatcher<string>;

  beforeEach(() => {
    handedOver = [];
    onTurn = () => {};
    buffer = new MessageBatcher((runs) => {
      handedOver.push(runs.map(({ channel, messages }) => `${channel}: ${messages.join(" ")}`));
      onTurn(runs);
    });
  });

  it("hands over all messages of a turn at once, at its end", async () => {
    for (const message of ["1", "2", "3"]) buffer.add("a", message);
    expect(handedOver).to.deep.equal([]);
    await settle(1);
    expect(handedOver).to.deep.equal([["a: 1 2 3"]]);
  });

  it("waits for no promise, and for no timer", async () => {
    const order: string[] = [];
    onTurn = () => order.push("handed over");
    const timer = setTimeout(() => order.push("timer"), 1_000);
    buffer.add("a", "1");
    await Promise.resolve();
    order.push("promises");
    await new Promise((resolve) => setImmediate(resolve));
    order.push("the next turn");
    clearTimeout(timer);
    expect(order).to.deep.equal(["promises", "handed over", "the next turn"]);
  });

  it("keeps the order of channels: one that comes again begins a run of its own", async () => {
    for (const text of ["a1", "a2", "b3", "a4", "c5", "c6", "b7"]) buffer.add(text[0]!, text[1]!);
    await settle(1);
    expect(handedOver).to.deep.equal([["a: 1 2", "b: 3", "a: 4", "c: 5 6", "b: 7"]]);
  });

  it("tells channels apart by what they are, not by their names", async () => {
    const [one, another] = [{ name: "a" }, { name: "a" }];
    const runs: MessageRun<object>[] = [];
    const ofObjects = new MessageBatcher<object>((turn) => runs.push(...turn));
    ofObjects.add(one, "1");
    ofObjects.add(another, "2");
    await settle(1);
    expect(runs).to.deep.equal([
      { channel: one, messages: ["1"] },
      { channel: another, messages: ["2"] },
    ]);
    expect(runs[1]!.channel).to.equal(another);
  });

  it("has nothing to do in a turn without messages", async () => {
    buffer.flush();
    await settle();
    expect(handedOver).to.deep.equal([]);
  });

  it("takes each turn for itself", async () => {
    buffer.add("a", "1");
    await settle(1);
    buffer.add("a", "2");
    await settle(1);
    expect(handedOver).to.deep.equal([["a: 1"], ["a: 2"]]);
  });

  describe("flush()", () => {
    it("hands over at once what has come so far, and the rest at the end of the turn", async () => {
      buffer.add("a", "1");
      buffer.flush();
      expect(handedOver).to.deep.equal([["a: 1"]]);
      buffer.add("a", "2");
      buffer.add("b", "3");
      expect(handedOver).to.deep.equal([["a: 1"]]);
      await settle();
      expect(handedOver).to.deep.equal([["a: 1"], ["a: 2", "b: 3"]]);
    });

    it("leaves nothing that would hand over again", async () => {
      buffer.add("a", "1");
      buffer.flush();
      buffer.flush();
      await settle();
      expect(handedOver).to.deep.equal([["a: 1"]]);
    });
  });

  describe("its bound", () => {
    it("is kept by what exceeds it, which goes at once with all before it", async () => {
      const half = "x".repeat(BOUND / 2);
      buffer.add("a", half);
      buffer.add("b", half);
      expect(handedOver, "as much as may be").to.have.length(0);
      buffer.add("a", "!");
      expect(handedOver).to.deep.equal([[`a: ${half}`, `b: ${half}`, "a: !"]]);
      await settle();
      expect(handedOver).to.have.length(1);
    });

    it("counts anew after each hand-over", () => {
      const half = "x".repeat(BOUND / 2);
      for (let round = 0; round < 3; round++) {
        buffer.add("a", half);
        buffer.flush();
      }
      expect(handedOver).to.have.length(3);
      buffer.add("a", half);
      buffer.add("a", half);
      expect(handedOver).to.have.length(3);
      buffer.add("a", "!");
      expect(handedOver).to.have.length(4);
      buffer.clear();
    });

    it("passes on at once a single message that is larger", () => {
      buffer.add("a", "x".repeat(BOUND + 1));
      expect(handedOver).to.have.length(1);
    });
  });

  describe("clear()", () => {
    it("drops what has come, and its turn never ends", async () => {
      buffer.add("a", "1");
      buffer.clear();
      await settle();
      buffer.flush();
      expect(handedOver).to.deep.equal([]);
    });

    it("keeps no process awake", () => {
      const pending = (): number =>
        process.getActiveResourcesInfo().filter((kind) => kind === "Immediate").length;
      const before = pending();
      buffer.add("a", "1");
      expect(pending()).to.equal(before + 1);
      buffer.clear();
      expect(pending()).to.equal(before);
    });

    it("takes messages afterwards as before, and counts them from nothing", async () => {
      buffer.add("a", "x".repeat(BOUND));
      buffer.clear();
      buffer.add("a", "1");
      await settle(1);
      expect(handedOver).to.deep.equal([["a: 1"]]);
    });
  });

  describe("while it hands over", () => {
    it("takes messages, which come with the next turn", async () => {
      onTurn = () => {
        onTurn = () => {};
        buffer.add("a", "2");
        buffer.add("b", "3");
      };
      buffer.add("a", "1");
      await settle();
      expect(handedOver).to.deep.equal([["a: 1"], ["a: 2", "b: 3"]]);
    });

    it("has nothing of it left to be flushed", () => {
      onTurn = () => buffer.flush();
      buffer.add("a", "1");
      buffer.flush();
      expect(handedOver).to.deep.equal([["a: 1"]]);
    });

    it("can be cleared, which drops only what came since", async () => {
      onTurn = () => {
        buffer.add("a", "2");
        buffer.clear();
      };
      buffer.add("a", "1");
      await settle();
      expect(handedOver).to.deep.equal([["a: 1"]]);
    });

    it("changes nothing in what it has handed over", async () => {
      let kept: readonly MessageRun<string>[] = [];
      onTurn = (runs) => {
        if (kept.length === 0) kept = runs;
        onTurn = () => {};
        buffer.add("a", "2");
      };
      buffer.add("a", "1");
      await settle();
      expect(kept).to.deep.equal([{ channel: "a", messages: ["1"] }]);
    });

    it("goes on with the next turn after one whose taker threw", async () => {
      onTurn = () => {
        throw new Error("a bug");
      };
      buffer.add("a", "1");
      expect(() => buffer.flush()).to.throw("a bug");
      onTurn = () => {};
      buffer.add("a", "2");
      await settle(1);
      expect(handedOver).to.deep.equal([["a: 1"], ["a: 2"]]);
    });
  });
});
