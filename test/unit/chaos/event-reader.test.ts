import { expect } from "chai";

import { EventReader, type EncodedFrames } from "../../chaos/event-reader.js";

describe("how the chaos test's clients read", () => {
  function read(
    text: string,
    lastEventId?: string,
  ): { blocks: readonly EncodedFrames[]; id: string | undefined } {
    const blocks: EncodedFrames[] = [];
    const reader = new EventReader(lastEventId, (block) => blocks.push(block));
    // Wherever a stream is cut into pieces, the same has to be read.
    for (const character of text) reader.feed(character);
    return { blocks, id: reader.lastEventId };
  }

  it("an id counts when its block ends, and stays for those without", () => {
    const { blocks, id } = read("id: 1\ndata: a\n\nevent: e\ndata: b\ndata: c\n\n:\n\nretry: 5\n\n");
    expect(blocks).to.deep.equal([
      { event: { type: "message", data: "a" }, hasId: true },
      { event: { type: "e", data: "b\nc" }, hasId: false },
    ]);
    expect(id).to.equal("1");
  });

  it("an id without data counts as well", () => {
    const { blocks, id } = read("id: 1\ndata: a\n\nid: 2\n\n");
    expect(blocks.at(-1)).to.deep.equal({ event: null, hasId: true });
    expect(id).to.equal("2");
  });

  it("of a block that is cut off nothing counts, wherever the cut falls", () => {
    const whole = "id: 1\ndata: a\n\n";
    const next = "id: 2\nevent: e\ndata: b\n\n";
    for (let length = 0; length < next.length; length++) {
      const { blocks, id } = read(whole + next.slice(0, length));
      expect(blocks, `${length}`).to.have.length(1);
      expect(id).to.equal("1");
    }
    expect(read(whole + next).id).to.equal("2");
  });

  it("a new connection begins with the id of the one before", () => {
    expect(read("data: a\n\n", "7").id).to.equal("7");
  });
});
