import { expect } from "chai";

import { ConflatingBuffer } from "../../../lib/backpressure/conflating-buffer.js";
import { FifoBuffer } from "../../../lib/backpressure/fifo-buffer.js";
import { collectGarbage, heapUsed } from "../../support/memory.js";
import { createRandom } from "../../support/random.js";
import { sizeOf } from "../../../lib/events/inbound-event.js";
import { settle } from "../../support/eventually.js";

interface Item {
  readonly data: string;
  readonly frame: string;
}

describe("FifoBuffer", () => {
  let buffer: FifoBuffer<Item>;

  beforeEach(() => {
    buffer = new FifoBuffer();
  });

  it("counts the memory of each event with a minimum, so that a byte limit also limits the number of events", () => {
    expect(sizeOf(item(0))).to.be.greaterThan(100);
    expect(sizeOf(item(10)) - sizeOf(item(5))).to.equal(2 * 5);
  });

  it("drops events between kept ones and keeps the order", () => {
    const items = Array.from({ length: 100 }, (_, index) => item(index % 10 === 0 ? 1 : 2));
    for (const one of items) buffer.push(one);
    const dropped: Item[] = [];
    const maxBytes = buffer.bytes / 2;
    buffer.dropOldest(
      maxBytes,
      ({ data }) => data.length === 2,
      (one) => dropped.push(one),
    );
    expect(buffer.bytes).to.be.within(maxBytes - sizeOf(item(2)), maxBytes);
    const left = waiting();
    expect(left).to.deep.equal(items.filter((one) => !dropped.includes(one)));
    expect(left.filter(({ data }) => data.length === 1)).to.have.length(10);
    expect(dropped, "the oldest").to.deep.equal(
      items.filter(({ data }) => data.length === 2).slice(0, dropped.length),
    );
  });

  it("does not scan all kept events for each dropped event", () => {
    let asked = 0;
    const isDroppable = ({ data }: Item): boolean => {
      asked++;
      return data.length > 1;
    };
    for (let index = 0; index < 1_000; index++) buffer.push(item(1));
    const maxBytes = 2 * buffer.bytes;
    for (let index = 0; index < 5_000; index++) {
      buffer.push(item(2));
      buffer.dropOldest(maxBytes, isDroppable, () => {});
    }
    expect(buffer.bytes).to.be.at.most(maxBytes);
    expect(asked / 5_000).to.be.lessThan(50);
  });

  it("behaves like an array for any order of calls", () => {
    const random = createRandom(7);
    let plain: Item[] = [];
    for (let step = 0; step < 5_000; step++) {
      const choice = random();
      if (choice < 0.5) {
        const next = item(Math.floor(random() * 20));
        buffer.push(next);
        plain.push(next);
      } else if (choice < 0.8) {
        expect(buffer.shift()).to.equal(plain.shift());
      } else if (choice < 0.95) {
        const isLong = ({ data }: Item): boolean => data.length > 14;
        plain = plain.filter((one) => !isLong(one));
        buffer.dropOldest(0, isLong, () => {});
        expect(waiting()).to.deep.equal(plain);
      } else if (choice < 0.99) {
        const kept = plain.filter(({ data }) => data.length > 4);
        expect(buffer.remove(({ data }) => data.length <= 4)).to.equal(plain.length - kept.length);
        plain = kept;
      } else {
        expect(buffer.clear()).to.equal(plain.length);
        plain = [];
      }
      expect(buffer.bytes).to.equal(plain.reduce((sum, one) => sum + sizeOf(one), 0));
      expect(buffer.isEmpty).to.equal(plain.length === 0);
    }
  });

  function waiting(): readonly Item[] {
    const items: Item[] = [];
    buffer.each((one) => items.push(one));
    return items;
  }

  it("releases removed events even if it is never empty", async () => {
    const taken: WeakRef<Item>[] = [];
    buffer.push(item(1));
    for (let round = 0; round < 1_000; round++) {
      buffer.push(item(1));
      taken.push(new WeakRef(buffer.shift()!));
    }
    await settle(); // A WeakRef holds its target until the end of the tick.
    collectGarbage();
    expect(taken.filter((reference) => reference.deref() !== undefined)).to.have.length(0);
    expect(buffer.bytes).to.equal(sizeOf(item(1)));
  });

  it("uses constant memory even if it is never empty", () => {
    const one = item(1);
    buffer.push(one);
    const before = heapUsed();
    for (let round = 0; round < 1_000_000; round++) {
      buffer.push(one);
      buffer.shift();
    }
    expect(heapUsed() - before).to.be.lessThan(2_000_000);
    expect(buffer.bytes).to.equal(sizeOf(one));
  });
});

describe("ConflatingBuffer", () => {
  let buffer: ConflatingBuffer<Item>;

  beforeEach(() => {
    buffer = new ConflatingBuffer();
  });

  it("behaves like a list for any order of calls", () => {
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

/** Returns an item with a text, or with a text of a given length. */
function item(data: number | string): Item {
  const text = typeof data === "number" ? "x".repeat(data) : data;
  return { data: text, frame: text };
}
