import { expect } from "chai";

import { parseChunked } from "../../support/chunked.js";

const parse = (text: string): unknown => {
  const { chunks, isOver, rest } = parseChunked(Buffer.from(text, "latin1"));
  return [chunks.map(String), isOver, rest.toString("latin1")];
};

describe("the strict reader of chunked bodies", () => {
  it("reads chunks, the last one, and what is behind it", () => {
    expect(parse("3\r\nabc\r\n1\r\n\n\r\n")).to.deep.equal([["abc", "\n"], false, ""]);
    expect(parse("10\r\n0123456789abcdef\r\n0\r\n\r\nx")).to.deep.equal([["0123456789abcdef"], true, "x"]);
  });

  it("waits for the rest at every byte", () => {
    const text = "3\r\nabc\r\nb\r\n0123456\r\n89\r\n0\r\n\r\n";
    for (let length = 0; length < text.length; length++) {
      const { isOver, rest } = parseChunked(Buffer.from(text.slice(0, length)));
      expect(isOver, text.slice(0, length)).to.equal(false);
      expect(text.slice(0, length).endsWith(rest.toString())).to.equal(true);
    }
    expect(parse(text)).to.deep.equal([["abc", "0123456\r\n89"], true, ""]);
  });

  const WRONG: Readonly<Record<string, string>> = {
    "a length that is too short": "2\r\nabc\r\n",
    "a length that is too long": "4\r\nabc\r\n1\r\nx\r\n",
    "no length": "\r\nabc\r\n",
    "an extension": "3;x=y\r\nabc\r\n",
    "a zero before the length": "03\r\nabc\r\n",
    "capital digits": "A\r\n0123456789\r\n",
    "a space": "3 \r\nabc\r\n",
    "LF alone": "3\nabc\r\n",
    "the text of an event in place of a chunk": "data: x\n\n",
    "a trailer": "0\r\nX: y\r\n\r\n",
  };
  for (const [what, text] of Object.entries(WRONG)) {
    it(`refuses ${what}`, () => {
      expect(() => parse(text)).to.throw(/expected/);
    });
  }
});
