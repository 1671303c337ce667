import { expect } from "chai";
import * as fc from "fast-check";

import { parseMessage } from "../../../lib/events/inbound-event.js";

const EPOCH = "0badcafe";
const message = (line: string): string => `\u001esse1\n${line}\nnews\nx`;
const content = { event: "news", data: "x" };

describe("an envelope's position", () => {
  it("is an epoch and an offset", () => {
    expect(parseMessage(message(`${EPOCH} 17`))).to.deep.equal({
      ...content,
      position: { epoch: EPOCH, offset: 17 },
    });
  });

  for (const ending of ["completed", "broken"] as const) {
    it(`may say behind it that the channel is ${ending}`, () => {
      const position = { epoch: EPOCH, offset: 1 };
      expect(parseMessage(message(`${EPOCH} 1 ${ending}`))).to.deep.equal({ ...content, position, ending });
    });
  }

  it("may be absent", () => {
    expect(parseMessage(message(""))).to.deep.equal(content);
  });

  const malformed = [
    " ",
    EPOCH,
    `${EPOCH} `,
    `${EPOCH} 0`,
    `${EPOCH} 01`,
    `${EPOCH} -1`,
    `${EPOCH} +1`,
    `${EPOCH} 1.5`,
    `${EPOCH} 1e3`,
    `${EPOCH} 0x1`,
    `${EPOCH} 9007199254740992`,
    `${EPOCH} 18446744073709551616`,
    `${EPOCH} NaN`,
    `${EPOCH} 1 `,
    `${EPOCH} 1 ended`,
    `${EPOCH} 1 Completed`,
    `${EPOCH} 1 completed x`,
    `${EPOCH} 1  completed`,
    `${EPOCH}  1`,
    ` ${EPOCH} 1`,
    `${EPOCH}\t1`,
    "0BADCAFE 1",
    "0badcaf 1",
    "0badcafe0 1",
    "1",
    "17",
    "9-9",
    "🎉",
  ];
  for (const line of malformed) {
    it(`is not ${JSON.stringify(line)}: nothing is made of that`, () => {
      expect(parseMessage(message(line))).to.equal(null);
    });
  }

  it("reads back the largest offset there is", () => {
    expect(parseMessage(message(`${EPOCH} ${Number.MAX_SAFE_INTEGER}`))?.position?.offset).to.equal(
      Number.MAX_SAFE_INTEGER,
    );
  });

  it("is read back as it was written, with any content, and has one text", () => {
    const epoch = fc.stringMatching(/^[0-9a-f]{8}$/);
    const offset = fc.maxSafeNat().map((value) => Math.max(1, value));
    const event = fc.string({ minLength: 1, unit: "binary" }).filter((text) => !text.includes("\n"));
    fc.assert(
      fc.property(epoch, offset, event, fc.string({ unit: "binary" }), (own, at, name, data) => {
        const text = `\u001esse1\n${own} ${at}\n${name}\n${data}`;
        expect(parseMessage(text)).to.deep.equal({ event: name, data, position: { epoch: own, offset: at } });
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (line) => {
        fc.pre(!line.includes("\n") && line !== "");
        const read = parseMessage(message(line));
        if (read === null) return;
        const { position, ending } = read;
        expect(`${position?.epoch} ${position?.offset}${ending === undefined ? "" : ` ${ending}`}`).to.equal(
          line,
        );
      }),
      { numRuns: 2_000 },
    );
  });
});
