import { expect } from "chai";

import { EventReader, parseBlocks } from "../../support/event-reader.js";

describe("EventReader", () => {
  function read(
    pieces: Iterable<string>,
    lastEventId?: string,
  ): readonly [seen: string[], id: string | undefined] {
    const seen: string[] = [];
    const reader = new EventReader(
      {
        onBlock: ({ event, data, id }) => seen.push(`${event} ${JSON.stringify(data)} ${JSON.stringify(id)}`),
        onComment: (comment) => seen.push(`comment "${comment}"`),
        onRetry: (milliseconds) => seen.push(`retry ${milliseconds}`),
        onUnknown: (line) => seen.push(`unknown ${line}`),
      },
      lastEventId,
    );
    for (const piece of pieces) reader.feed(piece);
    return [seen, reader.lastEventId];
  }

  const STREAM =
    "id: 1\ndata: a\n\nevent: e\ndata: b\ndata:\n\n:\ndata\n\nid: 2\n\nretry: 5\nevent: none\n\nwhat\nid\ndata: c\n\n";
  const EXPECTED = [
    'message "a" "1"',
    'e "b\\n" undefined',
    'comment ""',
    'message "" undefined',
    'message undefined "2"',
    "retry 5",
    "unknown what",
    'message "c" ""',
  ];

  for (const [name, end] of Object.entries({ LF: "\n", CR: "\r", CRLF: "\r\n" })) {
    it(`reads lines that end with ${name} for any split of the stream`, () => {
      const text = STREAM.replaceAll("\n", end);
      // After a CR, the parser waits for the next character.
      for (const pieces of [
        [text, end],
        [...text.split(""), end],
        ["", ...text.split(/(?<=:)/), end],
      ])
        expect(read(pieces)).to.deep.equal([EXPECTED, ""]);
    });
  }

  it("ignores an incomplete block for any cut", () => {
    const next = "id: 2\nevent: e\ndata: b\n\n";
    for (let length = 0; length < next.length; length++) {
      const text = `id: 1\ndata: a\n\n${next.slice(0, length)}`;
      expect(parseBlocks(text), `${length}`).to.deep.equal([{ event: "message", data: "a", id: "1" }]);
      expect(read([text])[1]).to.equal("1");
    }
  });

  it("starts with the id of the previous connection", () => {
    expect(read(["data: a\n\n"], "7")[1]).to.equal("7");
  });
});
