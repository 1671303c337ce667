import { expect } from "chai";

import { ChannelWarning } from "../../../middleware/channel-warning.js";
import { recordingLog } from "../../support/recording-logger.js";

describe("ChannelWarning", () => {
  let service: ReturnType<typeof recordingLog>;

  beforeEach(() => (service = recordingLog()));

  for (const name of [
    "undefined",
    "user:undefined",
    "user:null:orders",
    "null/orders",
    "room.NaN",
    "a|undefined|b",
    "a#null",
    "{undefined}",
    "order:[object Object]",
  ]) {
    it(`warns about the channel "${name}"`, () => {
      new ChannelWarning().look(name, service);
      new ChannelWarning().look(["a", name], service);
      new ChannelWarning().look({ channels: name }, service);
      new ChannelWarning().look({ channels: ["a", name] }, service);
      expect(service.lines).to.have.length(4);
      expect(service.lines[0]).to.include(name);
    });
  }

  it("does not warn about names that only look similar, or about selections of other types", () => {
    const warning = new ChannelWarning();
    for (const name of ["user:undefined2", "nullable", "null-island", "BaNaNa", "user:Undefined"])
      warning.look(name, service);
    for (const selection of [
      undefined,
      null,
      7,
      {},
      [undefined],
      [null, "a"],
      { channels: null },
      { key: "null" },
    ])
      warning.look(selection, service);
    expect(service.lines).to.deep.equal([]);
  });

  it("warns only once", () => {
    const warning = new ChannelWarning();
    for (let round = 0; round < 3; round++) warning.look("user:undefined", service);
    expect(service.lines).to.have.length(1);
  });
});
