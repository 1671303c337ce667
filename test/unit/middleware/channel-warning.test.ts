import { format } from "node:util";

import { expect } from "chai";
import { restore, stub, type SinonStub } from "sinon";

import { ChannelWarning } from "../../../middleware/channel-warning.js";

describe("ChannelWarning", () => {
  let warn: SinonStub;

  beforeEach(() => {
    warn = stub(console, "warn");
  });

  afterEach(restore);

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
    it(`warns of the channel "${name}"`, () => {
      new ChannelWarning().look(name);
      new ChannelWarning().look(["a", name]);
      expect(warn.callCount).to.equal(2);
      expect(format(...(warn.firstCall.args as [string]))).to.include(name);
    });
  }

  it("does not warn of a name that only looks so, nor of a selection of any other type", () => {
    const warning = new ChannelWarning();
    for (const name of ["user:undefined2", "nullable", "null-island", "BaNaNa", "user:Undefined"])
      warning.look(name);
    for (const selection of [undefined, null, 7, {}, [undefined], [null, "a"]]) warning.look(selection);
    expect(warn.callCount).to.equal(0);
  });

  it("warns once", () => {
    const warning = new ChannelWarning();
    for (let round = 0; round < 3; round++) warning.look("user:undefined");
    expect(warn.callCount).to.equal(1);
  });

  it("passes the name as an argument, escaped", () => {
    new ChannelWarning().look("%s:undefined:\u001b[31m\n");
    const [template, name] = warn.firstCall.args as [string, string];
    expect(template).to.not.include("undefined");
    expect(name).to.equal(String.raw`"%s:undefined:\u001b[31m\n"`);
  });
});
