import { expect } from "chai";
import * as fc from "fast-check";

import { encodeEnvelope, parseMessage } from "../../../lib/events/inbound-event.js";

const EPOCH = "0badcafe";
const MARK = "\u001esse1\n";

describe("encodeEnvelope()", () => {
  it("writes mark, position, event and data on one line each, with an empty event line for a plain message", () => {
    expect(encodeEnvelope({ event: "news", data: "a" })).to.equal(`${MARK}\nnews\na`);
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

  it("reads everything without the mark as plain text", () => {
    for (const message of ["", "a\nb", '{"a":1}', "sse1\n\n\nx", "\u001e", "\u001eother", " \u001esse1\n"]) {
      expect(parseMessage(message)).to.deep.equal({ event: undefined, data: message });
    }
    const text = fc.string({ unit: "binary" }).filter((message) => !message.startsWith("\u001esse"));
    fc.assert(
      fc.property(text, (data) => {
        expect(parseMessage(data)).to.deep.equal({ event: undefined, data });
      }),
    );
  });

  it("reads the position and the ending of an event that is in the channel's log", () => {
    const content = { event: "news", data: "a", position: { epoch: EPOCH, offset: 17 } };
    expect(parseMessage(`${MARK}${EPOCH} 17\nnews\na`)).to.deep.equal(content);
    for (const ending of ["completed", "broken"]) {
      const message = `${MARK}${EPOCH} 17 ${ending}\nnews\na`;
      expect(parseMessage(message)).to.deep.equal({ ...content, ending });
    }
  });

  const malformed = [
    " ",
    "1",
    "9-9",
    "🎉",
    EPOCH,
    `${EPOCH} `,
    " 17",
    ` ${EPOCH} 1`,
    `${EPOCH}  1`,
    `${EPOCH}\t1`,
    "0BADCAFE 1",
    "0badcaf 1",
    "0badcafe0 1",
    "0badcafg 1",
    ...["0", "01", "-1", "+1", "1.5", "1e3", "0x1", "NaN", "1\r", "1 "].map((id) => `${EPOCH} ${id}`),
    ...["9007199254740992", "18446744073709551616"].map((id) => `${EPOCH} ${id}`),
    ...["ended", "Completed", "completed ", "completed x", " completed"].map((end) => `${EPOCH} 1 ${end}`),
  ];
  for (const place of malformed) {
    it(`rejects ${JSON.stringify(place)} as a position`, () => {
      expect(parseMessage(`${MARK}${place}\nnews\na`)).to.equal(null);
    });
  }

  it("rejects a truncated envelope", () => {
    for (const message of [
      "\u001esse",
      "\u001esse1",
      MARK,
      `${MARK}\n`,
      `${MARK}x`,
      `${MARK}\nnews`,
      `${MARK}${EPOCH} 1`,
      `${MARK}${EPOCH} 1\n`,
    ]) {
      expect(parseMessage(message), JSON.stringify(message)).to.equal(null);
    }
  });

  it("rejects an envelope of another version", () => {
    for (const message of ["\u001esse2\n\n\nx", "\u001esse10\n\n\nx", "\u001essex"]) {
      expect(parseMessage(message), JSON.stringify(message)).to.equal(null);
    }
  });

  it("reads every valid position with any content", () => {
    const epoch = fc.stringMatching(/^[0-9a-f]{8}$/);
    const offset = fc.oneof(fc.constant(Number.MAX_SAFE_INTEGER), fc.integer({ min: 1 }));
    const event = fc.string({ minLength: 1, unit: "binary" }).filter((text) => !text.includes("\n"));
    fc.assert(
      fc.property(epoch, offset, event, fc.string({ unit: "binary" }), (own, at, name, data) => {
        const text = `${MARK}${own} ${at}\n${name}\n${data}`;
        expect(parseMessage(text)).to.deep.equal({ event: name, data, position: { epoch: own, offset: at } });
      }),
    );
  });

  it("accepts only the canonical form of a position", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (line) => {
        fc.pre(!line.includes("\n") && line !== "");
        const read = parseMessage(`${MARK}${line}\nnews\nx`);
        if (read === null) return;
        const { position, ending } = read;
        const end = ending === undefined ? "" : ` ${ending}`;
        expect(`${position?.epoch} ${position?.offset}${end}`).to.equal(line);
      }),
      { numRuns: 500 },
    );
  });
});
