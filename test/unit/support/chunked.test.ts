import { expect } from "chai";

import { parseChunked } from "../../support/chunked.js";

const parse = (text: string): unknown => {
  const { chunks, isOver, rest } = parseChunked(Buffer.from(text, "latin1"));
  return [chunks.map(String), isOver, rest.toString("latin1")];
};

describe("parseChunked()", () => {
  it("reads chunks, the last chunk and the rest after it", () => {
    expect(parse("3\r\nabc\r\n1\r\n\n\r\n")).to.deep.equal([["abc", "\n"], false, ""]);
    expect(parse("10\r\n0123456789abcdef\r\n0\r\n\r\nx")).to.deep.equal([["0123456789abcdef"], true, "x"]);
  });

  it("keeps an incomplete chunk as the rest at every byte", () => {
    const text = "3\r\nabc\r\nb\r\n0123456\r\n89\r\n0\r\n\r\n";
    for (let length = 0; length < text.length; length++) {
      const { isOver, rest } = parseChunked(Buffer.from(text.slice(0, length)));
      expect(isOver, text.slice(0, length)).to.equal(false);
      expect(text.slice(0, length).endsWith(rest.toString())).to.equal(true);
    }
    expect(parse(text)).to.deep.equal([["abc", "0123456\r\n89"], true, ""]);
  });

  it("rejects anything that is not in the exact format", () => {
    for (const text of [
      "2\r\nabc\r\n",
      "4\r\nabc\r\n1\r\nx\r\n",
      "\r\nabc\r\n",
      "3;x=y\r\nabc\r\n",
      "03\r\nabc\r\n",
      "A\r\n0123456789\r\n",
      "3\nabc\r\n",
      "data: x\n\n",
      "0\r\nX: y\r\n\r\n",
    ])
      expect(() => parse(text), JSON.stringify(text)).to.throw(/expected/);
  });
});
