import { expect } from "chai";

import { ConfigError } from "../../../lib/index.js";
import { sseStream } from "../../../middleware/express.js";

const make = (options: Record<string, unknown>) => (): unknown => sseStream(() => "a", options);

describe("the options of sseStream()", () => {
  for (const name of ["filter", "transform", "until"]) {
    for (const [what, value] of Object.entries({
      text: "role",
      true: true,
      null: null,
      "an object": {},
      "a pattern": /x/,
      "an array of functions": [() => true],
    })) {
      it(`refuse ${name} as ${what}, when the middleware is made`, () => {
        expect(make({ [name]: value })).to.throw(ConfigError, name);
      });
    }

    it(`refuse ${name} as a function that answers a promise`, () => {
      expect(make({ [name]: async () => true })).to.throw(
        ConfigError,
        `expected ${name} as a function that answers at once`,
      );
    });

    it(`take ${name} as a function, or left out`, () => {
      expect(make({ [name]: () => true })).not.to.throw();
      expect(make({ [name]: undefined })).not.to.throw();
    });
  }

  for (const [what, value] of Object.entries({
    "a word that is none": "drop-newest",
    null: null,
    false: false,
    "an object without latestBy": {},
    "latestBy that is no function": { latestBy: "id" },
    "latestBy that answers a promise": { latestBy: async () => "" },
    "latestBy with something else": { latestBy: () => "", maxKeys: 3 },
    "a function": () => "",
  })) {
    it(`refuse slowConsumer as ${what}, when the middleware is made`, () => {
      expect(make({ slowConsumer: value })).to.throw(ConfigError, "slowConsumer");
    });
  }

  it("take slowConsumer as each policy there is", () => {
    for (const slowConsumer of ["disconnect", "drop-oldest", "latest", { latestBy: () => "" }, undefined]) {
      expect(make({ slowConsumer })).not.to.throw();
    }
  });

  it("refuse a name that is misspelt", () => {
    expect(make({ slowconsumer: "latest" })).to.throw(ConfigError, "slowconsumer");
    expect(make({ filters: () => true })).to.throw(ConfigError, "filters");
  });
});
