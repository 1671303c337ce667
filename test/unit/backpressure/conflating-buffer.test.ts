import { expect } from "chai";

import { sizeOf } from "../../../lib/events/inbound-event.js";
import { ConflatingBuffer } from "../../../lib/backpressure/conflating-buffer.js";
import { createRandom } from "../../support/random.js";

interface Item {
  readonly data: string;
  readonly frame: string;
}

describe("ConflatingBuffer", () => {
  let buffer: ConflatingBuffer<Item>;

  beforeEach(() => {
    buffer = new ConflatingBuffer();
  });

  it("gives out the newest of each key, in the order in which those came", () => {
    const [first, second, third] = [item("1"), item("2"), item("3")];
    expect(buffer.push(first, "x")).to.equal(undefined);
    expect(buffer.push(second, "y")).to.equal(undefined);
    expect(buffer.push(third, "x"), "the one whose place was taken").to.equal(first);
    expect([buffer.shift(), buffer.shift(), buffer.shift()]).to.deep.equal([second, third, undefined]);
  });

  it("counts only what waits", () => {
    buffer.push(item("long, and gone"), "x");
    buffer.push(item("1"), "x");
    buffer.push(item("2"), Symbol("kept"));
    expect(buffer.bytes).to.equal(sizeOf(item("1")) + sizeOf(item("2")));
    buffer.shift();
    expect(buffer.bytes).to.equal(sizeOf(item("2")));
    buffer.shift();
    expect(buffer.bytes).to.equal(0);
    expect(buffer.isEmpty).to.equal(true);
  });

  it("keeps all that have keys of their own", () => {
    for (const data of ["1", "2", "3"]) buffer.push(item(data), Symbol("kept"));
    expect([buffer.shift(), buffer.shift(), buffer.shift()].map((each) => each?.data)).to.deep.equal([
      "1",
      "2",
      "3",
    ]);
  });

  it("drops the oldest that may be dropped, or takes out all that are not wanted", () => {
    for (const data of ["a1", "b2", "b3", "a4"]) buffer.push(item(data), data);
    const dropped: string[] = [];
    buffer.dropOldest(
      3 * sizeOf(item("a1")) + 1,
      ({ data }) => data.startsWith("b"),
      ({ data }) => dropped.push(data),
    );
    expect(dropped[0]).to.equal("b2");
    buffer.dropOldest(
      0,
      ({ data }) => data.startsWith("b"),
      ({ data }) => dropped.push(data),
    );
    expect(dropped).to.deep.equal(["b2", "b3"]);
    expect(buffer.remove(({ data }) => data.startsWith("a"))).to.equal(2);
    expect(buffer.bytes).to.equal(0);
    expect(buffer.shift()).to.equal(undefined);
  });

  it("gives out what comes after it was empty", () => {
    buffer.push(item("1"), "x");
    expect([buffer.shift()?.data, buffer.shift()]).to.deep.equal(["1", undefined]);
    buffer.push(item("2"), "x");
    buffer.push(item("3"), "y");
    expect([buffer.shift()?.data, buffer.shift()?.data, buffer.shift()]).to.deep.equal(["2", "3", undefined]);
  });

  it("does what a plain list would, in any order of calls", () => {
    const random = createRandom(11);
    let plain: (readonly [string, Item])[] = [];
    for (let step = 0; step < 5_000; step++) {
      const choice = random();
      if (choice < 0.6) {
        const key = `k${Math.floor(random() * 8)}`;
        const next = item(`${key} ${"x".repeat(Math.floor(random() * 20))}`);
        const replaced = plain.find(([known]) => known === key)?.[1];
        expect(buffer.push(next, key)).to.equal(replaced);
        plain = [...plain.filter(([known]) => known !== key), [key, next]];
      } else if (choice < 0.8) {
        expect(buffer.shift()).to.equal(plain.shift()?.[1]);
      } else if (choice < 0.9) {
        plain = plain.filter(([, { data }]) => data.length <= 12);
        buffer.dropOldest(
          0,
          ({ data }) => data.length > 12,
          () => {},
        );
      } else if (choice < 0.98) {
        const kept = plain.filter(([, { data }]) => data.length > 8);
        expect(buffer.remove(({ data }) => data.length <= 8)).to.equal(plain.length - kept.length);
        plain = kept;
      } else {
        expect(buffer.clear()).to.equal(plain.length);
        plain = [];
      }
      expect(buffer.bytes).to.equal(plain.reduce((sum, [, one]) => sum + sizeOf(one), 0));
      expect(buffer.isEmpty).to.equal(plain.length === 0);
    }
  });
});

function item(data: string): Item {
  return { data, frame: `data: ${data}\n\n` };
}
