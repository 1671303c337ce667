import { expect } from "chai";
import * as fc from "fast-check";

import { ChannelMap } from "../../../lib/replay/channel-map.js";

interface Value {
  readonly channel: string;
  readonly number: number;
}

describe("ChannelMap", () => {
  it("does the same as a Map, with any number of channels", () => {
    const step = fc.record({
      do: fc.constantFrom("set", "set", "delete"),
      channel: fc.constantFrom("a", "b", "c"),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const map = new ChannelMap<Value>();
        const model = new Map<string, Value>();
        steps.forEach(({ do: what, channel }, number) => {
          if (what === "delete") {
            expect(map.delete(channel)).to.equal(model.delete(channel));
          } else {
            map.set({ channel, number });
            model.set(channel, { channel, number });
          }
          expect([...map.values()]).to.deep.equal([...model.values()]);
          expect(map.size).to.equal(model.size);
          for (const name of ["a", "b", "c"]) expect(map.get(name)).to.deep.equal(model.get(name));
        });
      }),
    );
  });
});
