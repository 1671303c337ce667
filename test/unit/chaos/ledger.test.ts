import { expect } from "chai";

import { encodeEventId, tagOf } from "../../../lib/sse/event-id.js";
import { Findings } from "../../chaos/findings.js";
import { Ledger } from "../../chaos/ledger.js";
import { checkLog } from "../../chaos/log-check.js";
import { codeOf } from "../../chaos/payload.js";

const CHANNEL = "channel-1";

describe("Ledger and checkLog()", () => {
  let ledger: Ledger;

  beforeEach(() => {
    ledger = new Ledger();
  });

  function acknowledge(number: number, offset: number | null, issuedAt = number, epoch = "0000000a"): void {
    const id = offset === null ? null : encodeEventId([{ tag: tagOf(CHANNEL), epoch, offset }]);
    ledger.settle({ channel: CHANNEL, publisher: 1, number, issuedAt, settledAt: issuedAt + 0.5, id });
  }

  const code = (number: number): number => codeOf({ publisher: 1, number });

  function rulesOf(log: readonly number[]): readonly string[] {
    const findings = new Findings();
    checkLog(CHANNEL, new Map(log.map((number, index) => [index + 1, code(number)])), ledger, findings);
    return findings.all.map(({ rule }) => rule);
  }

  it("accept a log that has all acknowledged events at their positions, and uncertain events", () => {
    acknowledge(1, 1);
    acknowledge(3, 3);
    acknowledge(4, null);
    expect(rulesOf([1, 2, 3, 4])).to.deep.equal([]);
    expect([...ledger.contradictions(CHANNEL)]).to.deep.equal([]);
  });

  it("report an acknowledged event that is missing from the log or at another position", () => {
    const rule = "what is acknowledged is in the log";
    acknowledge(1, 1);
    expect(rulesOf([2])).to.deep.equal([rule]);
    expect(rulesOf([2, 1])).to.deep.equal([rule]);
    acknowledge(2, null);
    expect(rulesOf([1])).to.deep.equal([rule]);
  });

  it("report an event that is in the log twice", () => {
    acknowledge(1, 1);
    expect(rulesOf([1, 2, 2])).to.deep.equal(["the log has nothing twice"]);
  });

  it("report two events at one position, a log that started again, and an impossible order", () => {
    acknowledge(1, 1);
    acknowledge(2, 1);
    expect([...ledger.contradictions(CHANNEL)]).to.deep.equal([
      `${CHANNEL}: two acknowledged events have one place`,
    ]);
    ledger = new Ledger();
    acknowledge(1, 1);
    acknowledge(2, 2, 2, "0000000b");
    expect([...ledger.contradictions(CHANNEL)]).to.deep.equal([
      `${CHANNEL}: its log has begun anew: 0000000a 0000000b`,
    ]);
    ledger = new Ledger();
    acknowledge(2, 1, 20);
    acknowledge(1, 2, 10);
    expect([...ledger.contradictions(CHANNEL)]).to.deep.equal([
      `${CHANNEL}: p1#1 at 2 was there before p1#2 at 1 was issued`,
    ]);
  });
});
