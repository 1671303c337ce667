import { once } from "node:events";
import { createServer, get, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";

import { expect } from "chai";

import type { RedisSseError } from "../../../lib/index.js";
import { collect, type CollectedStream, type StreamSource } from "../../../testing/index.js";
import { expectFault, faultOf } from "../../support/service.js";

const TEXT = [
  'event: connected\ndata: {"sessionId":"s"}\n\n',
  'id: 1\ndata: {"n":1}\n\n',
  "event: note\ndata: hello\ndata: world\n\n",
  'event: gap\ndata: {"reason":"epoch"}\n\n',
  "id: 2\ndata: 7\n\n",
].join("");

const APP_EVENTS = [
  { event: "message", data: { n: 1 }, text: '{"n":1}', id: "1" },
  { event: "note", data: "hello\nworld", text: "hello\nworld", id: undefined },
  { event: "message", data: 7, text: "7", id: "2" },
];

describe("collect()", () => {
  let server: Server;
  let url: string;
  let answer: (res: ServerResponse, req: IncomingMessage) => void;
  const streams: CollectedStream[] = [];

  before(async () => {
    server = createServer((req, res) => answer(res, req)).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  beforeEach(() => (answer = (res) => res.end(TEXT)));
  afterEach(async () => {
    for (const stream of streams.splice(0)) await stream.close();
  });
  after(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });

  const open = async (...args: Parameters<typeof collect>): Promise<CollectedStream> => {
    const stream = await collect(...args);
    streams.push(stream);
    return stream;
  };

  const sources: readonly (readonly [string, number | null, () => StreamSource | Promise<StreamSource>])[] = [
    ["a URL as a string", 200, () => url],
    ["a URL", 200, () => new URL(url)],
    ["a Response", 200, () => fetch(url)],
    ["the body of a Response", null, async () => (await fetch(url)).body!],
    ["an IncomingMessage", 200, async () => ((await once(get(url), "response")) as [IncomingMessage])[0]],
    [
      "a readable stream that splits characters",
      null,
      () => Readable.from([...Buffer.from(TEXT)].map((byte) => Buffer.of(byte))),
    ],
  ];
  for (const [what, status, make] of sources) {
    it(`reads ${what}`, async () => {
      const stream = await open(await make());
      expect(stream.status).to.equal(status);
      expect(await stream.ended()).to.deep.equal(APP_EVENTS);
      expect(stream.control.map(({ event, data }) => [event, data])).to.deep.equal([
        ["connected", { sessionId: "s" }],
        ["gap", { reason: "epoch" }],
      ]);
      expect(stream.lastEventId).to.equal("2");
    });
  }

  it("returns each event only once from event(), next() and the iterator", async () => {
    const stream = await open(url);
    expect((await stream.event("note")).data).to.equal("hello\nworld");
    expect((await stream.event("gap")).data).to.deep.equal({ reason: "epoch" });
    expect((await stream.next()).id).to.equal("1");
    const rest: unknown[] = [];
    for await (const { data } of stream) rest.push(data);
    expect(rest).to.deep.equal([7]);
    expectFault(await faultOf(stream.next()), "NOT_RECEIVED");
    expect(stream.events).to.have.length(3);
  });

  it("waits for later events and disconnects on close()", async () => {
    let left!: Promise<unknown>;
    let send!: (text: string) => void;
    answer = (res) => {
      left = once(res, "close");
      res.write(": hello\n\n");
      send = (text) => res.write(text);
    };
    const stream = await open(url);
    const events = [stream.event("b"), stream.next(), stream.event("a")];
    send("event: a\ndata: 1\n\nevent: b\ndata: 2\n\nevent: a\ndata: 3\n\n");
    expect((await Promise.all(events)).map(({ data }) => data)).to.deep.equal([2, 1, 3]);
    await stream.close();
    await left;
    expect(await stream.ended()).to.have.length(3);
  });

  it("sends each header once, in any case, and the last event id", async () => {
    answer = (res, { headers: sent }) =>
      res.end(`data: ${sent.cookie} ${sent.accept} ${String(sent["last-event-id"])}\n\n`);
    const headers = { Cookie: "a=b", accept: "x/y", "last-event-id": "older" };
    for (const given of [headers, new Headers(headers)]) {
      const stream = await open(url, { headers: given, lastEventId: "3.x" });
      expect((await stream.next()).data).to.equal("a=b x/y 3.x");
    }
  });

  it("keeps the id of a block without data, as a browser does", async () => {
    answer = (res) => res.end("id: 1\ndata: 1\n\nid: 2\n\n:\ndata: 3\n\nid: 4\n\nid: cut");
    const stream = await open(url);
    expect((await stream.ended()).map(({ text }) => text)).to.deep.equal(["1", "3"]);
    expect(stream.lastEventId).to.equal("4");
  });

  it("disconnects when a loop ends, and closes a source that never answers", async () => {
    let left!: Promise<unknown>;
    answer = (res) => {
      left = once(res, "close");
      res.write("data: 1\n\n");
    };
    for await (const { data } of await open(url)) if (data === 1) break;
    await left;
    const waiting = (async function* () {
      yield "data: 1\n\n";
      await new Promise(() => {});
    })();
    await (await collect(waiting)).close();
  });

  describe("error messages", () => {
    const failures: readonly (readonly [
      string,
      string | null,
      (s: CollectedStream) => Promise<unknown>,
      string,
    ])[] = [
      [
        "an event",
        TEXT,
        (s) => s.event("other", { timeoutMs: 20 }),
        'Timeout after 20 ms while waiting for the event "other". The status is 200. Arrived so far: connected {"sessionId":"s"}; message {"n":1}; note hello\nworld; gap {"reason":"epoch"}; message 7',
      ],
      [
        "the next event",
        ":\n\n",
        (s) => s.next({ timeoutMs: 20 }),
        "Timeout after 20 ms while waiting for an event. The status is 200. No event has arrived, only: :\n\n",
      ],
      [
        "the end",
        "data: 1\n\n",
        (s) => s.ended({ timeoutMs: 20 }),
        "Timeout after 20 ms while waiting for the end of the stream. The status is 200. Arrived so far: message 1",
      ],
    ];
    for (const [what, text, wait, message] of failures) {
      it(`list the events so far if ${what} does not arrive`, async () => {
        answer = (res) => res.write(text);
        const stream = await open(url);
        if (text === TEXT) await stream.event("gap");
        else if (text !== ":\n\n") await stream.next();
        else await expectHead(stream);
        const fault = (await faultOf(wait(stream))) as RedisSseError;
        expectFault(fault, "NOT_RECEIVED");
        expect(fault.message).to.equal(message);
      });
    }

    it("contain the body of an HTTP error status", async () => {
      answer = (res) => res.writeHead(403).end('{"error":{"code":"FORBIDDEN"}}');
      const stream = await open(url);
      expect(stream.status).to.equal(403);
      const fault = (await faultOf(stream.event("connected"))) as RedisSseError;
      expect(fault.message).to.equal(
        'The stream ended before the event "connected". The status is 403. No event has arrived, only: {"error":{"code":"FORBIDDEN"}}',
      );
    });

    it("report a request without a response", async () => {
      answer = () => {};
      expectFault(await faultOf(collect(url, { timeoutMs: 20 })), "NOT_RECEIVED");
    });
  });

  it("rejects unreadable sources and options without effect", async () => {
    const read = await fetch(url);
    read.body!.getReader();
    const wrong: readonly (readonly unknown[])[] = [
      [7],
      [{}],
      [null],
      [read],
      [url, { timeout: 1 }],
      [url, { timeoutMs: 0 }],
      [await fetch(url), { lastEventId: "1" }],
    ];
    for (const args of wrong) {
      expectFault(await faultOf(collect(...(args as Parameters<typeof collect>))), "CONFIG");
    }
    const stream = await open(url);
    expectFault(await faultOf(stream.next({ timeoutMs: -1 })), "CONFIG");
  });
});

/** Waits until the text without an event has been read. */
async function expectHead(stream: CollectedStream): Promise<void> {
  for (;;) {
    const { message } = (await faultOf(stream.next({ timeoutMs: 5 }))) as Error;
    if (message.includes("only")) return;
  }
}
