import { expect } from "chai";

import { ConfigError } from "../../../lib/errors.js";
import { readOptions } from "../../../lib/options.js";
import { readSlowConsumer } from "../../../lib/backpressure/slow-consumer.js";

describe("slowConsumer", () => {
  const latestBy = { latestBy: () => "" };

  for (const policy of ["disconnect", "drop-oldest", "latest", latestBy] as const) {
    it(`may be ${JSON.stringify(policy)}${typeof policy === "object" ? " with a function" : ""}`, () => {
      expect(readSlowConsumer(policy)).to.equal(policy);
      expect(readOptions({ slowConsumer: policy }).slowConsumer).to.equal(policy);
    });
  }

  it("is to disconnect, unless the service says otherwise", () => {
    expect(readOptions().slowConsumer).to.equal("disconnect");
  });

  const wrong: Record<string, unknown> = {
    "another word": "drop-newest",
    "a word in another case": "Latest",
    "a word in an object": new String("latest"),
    "an array": ["latest"],
    "an object without a function": {},
    "a key that is no function": { latestBy: "id" },
    "a misspelt key": { lastestBy: () => "" },
    "a key too many": { latestBy: () => "", drop: true },
    "a function": () => "",
    "a number": 1,
    null: null,
    true: true,
  };
  for (const [what, policy] of Object.entries(wrong)) {
    it(`is refused as ${what}`, () => {
      expect(() => readSlowConsumer(policy)).to.throw(ConfigError, "slowConsumer");
      if (policy === null) return;
      expect(() => readOptions({ slowConsumer: policy as "latest" })).to.throw(ConfigError, "slowConsumer");
    });
  }
});
