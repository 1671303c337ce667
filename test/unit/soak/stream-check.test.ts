import { expect } from "chai";

import { encodeNumber, Ledger } from "../../soak/ledger.js";
import { judgeSilentHoles, StreamCheck, type SilentHole } from "../../soak/stream-check.js";
import { Violations } from "../../soak/violations.js";

/** A soak that sees nothing would hold as well: here are the faults that it has to see. */
describe("what the soak finds wrong with a stream", () => {
  let ledger: Ledger;
  let violations: Violations;
  let holes: SilentHole[];

  beforeEach(() => {
    ledger = new Ledger();
    violations = new Violations();
    holes = [];
  });

  function open(mode: "shared" | "dedicated" = "shared"): StreamCheck {
    const name = "a stream";
    return new StreamCheck({ name, channels: ["a"], mode, ledger, violations, silentHoles: holes });
  }

  function publish(count: number): void {
    for (let left = count; left > 0; left--) ledger.acknowledge("a", ledger.issue("a"));
  }

  /** The rules that did not hold, once the stream has ended. */
  function brokenRules(check: StreamCheck): readonly string[] {
    check.end();
    judgeSilentHoles(holes, ledger, violations);
    return violations.all.map(({ rule }) => rule);
  }

  const number = (value: number): string => encodeNumber("a", value, 0);
  const ID = "3.3q2-7-xYz-xJfQA";
  const GAP = JSON.stringify({ channels: ["a"], reason: "interrupted" });

  it("nothing with a stream that begins, tells of its gap, and ends as it should", () => {
    publish(3);
    const check = open();
    check.event("connected", "{}");
    publish(7);
    check.event("message", number(3)); // was on its way
    check.event("message", number(4));
    check.event("gap", GAP);
    check.event("message", number(8));
    check.event("error", "{}");
    check.event("closing", "{}");
    expect(brokenRules(check)).to.deep.equal([]);
  });

  it("a hole without a gap, whether behind a message or behind `connected`", () => {
    for (const received of [[1, 3], [2]]) {
      const check = open();
      check.event("connected", "{}");
      publish(3);
      for (const value of received) check.event("message", number(value));
      expect(brokenRules(check)).to.deep.equal(["nothing is lost in silence"]);
      ledger = new Ledger();
    }
  });

  it("a second hole behind one gap", () => {
    const check = open();
    check.event("connected", "{}");
    publish(6);
    check.event("gap", GAP);
    check.event("message", number(2));
    check.event("message", number(6));
    expect(brokenRules(check)).to.deep.equal(["nothing is lost in silence"]);
  });

  it("no hole where nothing was certainly published", () => {
    const check = open();
    check.event("connected", "{}");
    ledger.issue("a");
    publish(1);
    check.event("message", number(2));
    expect(brokenRules(check)).to.deep.equal([]);
  });

  it("a gap that comes after the hole", () => {
    const check = open();
    check.event("connected", "{}");
    publish(3);
    check.event("message", number(3));
    check.event("gap", GAP);
    expect(brokenRules(check)).to.deep.equal(["nothing is lost in silence"]);
  });

  it("a number that repeats or falls back", () => {
    const check = open();
    check.event("connected", "{}");
    publish(3);
    for (const value of [1, 2, 2, 1]) check.event("message", number(value));
    expect(violations.all).to.have.length(1);
    expect(violations.all[0]).to.deep.include({ rule: "numbers increase", count: 2 });
  });

  it("a gap in dedicated mode, where a lost connection ends the stream", () => {
    const check = open("dedicated");
    check.event("connected", "{}", ID);
    check.event("gap", GAP);
    expect(brokenRules(check)).to.deep.equal(["a dedicated stream ends with its connection, and has no gap"]);
  });

  for (const [mode, id] of [
    ["shared", ID],
    ["dedicated", null],
    ["dedicated", "completed"],
  ] as const) {
    it(`the id ${id} with \`connected\` in ${mode} mode`, () => {
      const check = open(mode);
      check.event("connected", "{}", id);
      expect(brokenRules(check)).to.have.length(1);
    });
  }

  for (const [event, data] of [
    ["message", number(1)],
    ["error", "{}"],
    ["closing", "{}"],
  ] as const) {
    it(`an id with \`${event}\`, which is in no log`, () => {
      for (const mode of ["shared", "dedicated"] as const) {
        const check = open(mode);
        check.event("connected", "{}", mode === "shared" ? null : ID);
        publish(1);
        check.event(event, data, ID);
        expect(brokenRules(check), mode).to.have.length(1);
        ledger = new Ledger();
        violations = new Violations();
      }
    });
  }

  it("nothing with a dedicated stream that begins with its place in a log", () => {
    const check = open("dedicated");
    check.event("connected", "{}", ID);
    publish(2);
    for (const value of [1, 2]) check.event("message", number(value));
    check.event("error", "{}");
    check.event("closing", "{}");
    expect(brokenRules(check)).to.deep.equal([]);
  });

  for (const [what, events] of [
    ["an event before `connected`", ["message"]],
    ["a second `connected`", ["connected", "connected"]],
    ["an event after `error`", ["connected", "error", "message"]],
    ["an event after `closing`", ["connected", "closing", "gap"]],
    ["an event that nobody published", ["connected", "strange"]],
  ] as const) {
    it(what, () => {
      const check = open();
      publish(1);
      for (const event of events) check.event(event, event === "gap" ? GAP : number(1));
      expect(brokenRules(check)).to.have.length(1);
    });
  }

  it("an event after the end", () => {
    const check = open();
    check.end();
    check.event("connected", "{}");
    expect(brokenRules(check)).to.deep.equal(["nothing follows the end"]);
  });

  it("a channel that was not asked for, and data that nobody published", () => {
    const check = open();
    check.event("connected", "{}");
    check.event("message", encodeNumber("b", 1, 0));
    check.event("message", "a 1 half");
    expect(brokenRules(check)).to.have.length(2);
  });
});
