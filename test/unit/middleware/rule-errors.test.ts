import { expect } from "chai";
import type { Request } from "express";

import { RuleErrors, type RuleErrorContext } from "../../../middleware/rule-errors.js";
import { settle } from "../../support/eventually.js";
import { recordingLog } from "../../support/recording-logger.js";

const req = {} as Request;
const service = recordingLog();
const failure = { rule: "filter", channel: "a", event: undefined } as const;

describe("RuleErrors", () => {
  it("reports errors of each rule at most once a second, with the number of omitted errors", () => {
    let now = 0;
    const told: [unknown, RuleErrorContext][] = [];
    const errors = new RuleErrors(
      (error, context) => void told.push([error, context]),
      () => now,
    );
    for (; now < 1_000; now += 100) errors.of(req, service)(now, failure);
    errors.of(req, service)("other", { ...failure, rule: "until" });
    errors.of(req, service)("later", failure);
    expect(told).to.deep.equal([
      [0, { ...failure, req, omitted: 0 }],
      ["other", { ...failure, rule: "until", req, omitted: 0 }],
      ["later", { ...failure, req, omitted: 9 }],
    ]);
  });

  it("handles a rejection of onError", async () => {
    new RuleErrors(() => Promise.reject(new Error("its own fault"))).of(req, service)("x", failure);
    await settle();
  });

  it("writes to the service's log with escaped names if onError is not set", () => {
    new RuleErrors().of(req, service)(new Error("broken"), { ...failure, channel: "a\nb", event: "%s" });
    expect(service.lines).to.have.length(1);
    expect(service.lines[0]).to.match(
      /^error redis-sse: filter\(\) failed on channel "a\\nb", event %s: Error: broken\n/,
    );
  });
});
