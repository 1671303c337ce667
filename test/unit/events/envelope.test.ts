import { expect } from "chai";

import { encodeEnvelope, parseMessage } from "../../../lib/events/inbound-event.js";
import { createRandom } from "../../support/random.js";

const MARK = "\u001esse1\n";

describe("encodeEnvelope()", () => {
  it("writes mark, position, event and data, one line each", () => {
    expect(encodeEnvelope({ event: "news", data: "a" })).to.equal(`${MARK}\nnews\na`);
  });

  it("leaves the event's line empty for a plain message", () => {
    expect(encodeEnvelope({ event: undefined, data: "a" })).to.equal(`${MARK}\n\na`);
  });
});

describe("parseMessage()", () => {
  const contents = ["", "a", "a\nb\n", "\n\n", "{}", " ", `${MARK}\nx\ny`, "\u001esse", "\r\n", "🎉\ud83d"];
  for (const data of contents) {
    it(`reads back an envelope with the data ${JSON.stringify(data)}`, () => {
      for (const event of [undefined, "news", "a: b"]) {
        expect(parseMessage(encodeEnvelope({ event, data }))).to.deep.equal({ event, data });
      }
    });
  }

  for (const message of [
    "",
    "hello",
    "a\nb",
    '{"a":1}',
    "sse1\n\n\nx",
    "\u001e",
    "\u001eother",
    " \u001esse1\n",
  ]) {
    it(`takes ${JSON.stringify(message)} as plain text`, () => {
      expect(parseMessage(message)).to.deep.equal({ event: undefined, data: message });
    });
  }

  it("reads a position, which only an event has that is in its channel's log", () => {
    const position = { epoch: "0123abcd", offset: 17 };
    const content = { event: "news", data: "a", position };
    expect(parseMessage(`${MARK}0123abcd 17\nnews\na`)).to.deep.equal(content);
    for (const ending of ["completed", "broken"]) {
      const message = `${MARK}0123abcd 17 ${ending}\n\n`;
      expect(parseMessage(message)).to.deep.equal({ event: undefined, data: "", position, ending });
    }
  });

  for (const offset of [1, 9, 10, Number.MAX_SAFE_INTEGER]) {
    it(`reads the offset ${offset}`, () => {
      expect(parseMessage(`${MARK}0123abcd ${offset}\n\na`)?.position?.offset).to.equal(offset);
    });
  }

  const malformed = [
    "17",
    "9-9",
    " ",
    "0123abcd",
    "0123abcd ",
    " 17",
    "0123ABCD 17",
    "0123abc 17",
    "0123abcde 17",
    "0123abcg 17",
    "0123abcd 0",
    "0123abcd 017",
    "0123abcd -1",
    "0123abcd +1",
    "0123abcd 1.5",
    "0123abcd 1e3",
    "0123abcd 0x1",
    "0123abcd 1\r",
    `0123abcd ${Number.MAX_SAFE_INTEGER + 1}`,
    "0123abcd 99999999999999999",
    "0123abcd  17",
    "0123abcd 17 ",
    "0123abcd 17 ended",
    "0123abcd 17 Completed",
    "0123abcd 17 completed ",
    "0123abcd 17 completed broken",
  ];
  for (const place of malformed) {
    it(`refuses ${JSON.stringify(place)} in place of a position`, () => {
      expect(parseMessage(`${MARK}${place}\nnews\na`)).to.equal(null);
    });
  }

  for (const message of [
    "\u001esse",
    "\u001esse1",
    MARK,
    `${MARK}\n`,
    `${MARK}x`,
    `${MARK}\nnews`,
    `${MARK}0123abcd 1`,
    `${MARK}0123abcd 1\n`,
  ]) {
    it(`refuses ${JSON.stringify(message)}, an envelope that is cut off`, () => {
      expect(parseMessage(message)).to.equal(null);
    });
  }

  for (const message of ["\u001esse2\n\n\nx", "\u001esse10\n\n\nx", "\u001essex"]) {
    it(`refuses ${JSON.stringify(message)}, an envelope of another version`, () => {
      expect(parseMessage(message)).to.equal(null);
    });
  }

  it("reads back whatever was written, and never throws at anything else", () => {
    const random = createRandom(1);
    const pieces = ["\u001e", "sse", "1", "\n", "\r", "a", "", MARK, "🎉"];
    const compose = (): string =>
      Array.from(
        { length: Math.floor(random() * 8) },
        () => pieces[Math.floor(random() * pieces.length)]!,
      ).join("");
    for (let round = 0; round < 2_000; round++) {
      const data = compose();
      expect(parseMessage(encodeEnvelope({ event: "e", data }))).to.deep.equal({ event: "e", data });
      const read = parseMessage(data);
      if (!data.startsWith("\u001esse")) expect(read).to.deep.equal({ event: undefined, data });
    }
  });
});
