import { expect } from "chai";
import * as sinon from "sinon";

import {
  createFetchSource,
  type CredentialRequest,
  type FetchOptions,
  type SourceEnd,
  type StreamMessage,
  type StreamUrl,
} from "../../../client/index.js";

const URL_OF_STREAM = "http://localhost/events";

interface Call {
  readonly address: string;
  readonly headers: Headers;
}

describe("createFetchSource()", () => {
  let calls: Call[];
  let messages: StreamMessage[];
  let closing: AbortController;

  beforeEach(() => {
    calls = [];
    messages = [];
    closing = new AbortController();
  });

  afterEach(() => sinon.restore());

  /** Opens one connection that is answered with `response`. */
  function open(
    response: Response,
    options: FetchOptions = {},
    {
      url = URL_OF_STREAM,
      lastEventId = "",
      isRefused = false,
    }: { url?: StreamUrl; lastEventId?: string; isRefused?: boolean } = {},
  ): Promise<SourceEnd> {
    const fetch: typeof globalThis.fetch = (address, init) => {
      calls.push({ address: new Request(address).url, headers: new Headers(init?.headers) });
      return Promise.resolve(response);
    };
    const request = { lastEventId, isRefused, signal: closing.signal };
    return createFetchSource(url, { fetch, ...options }).open(request, {
      onActivity: () => {},
      onMessage: (message) => void messages.push(message),
      onRetry: () => {},
      ready: () => undefined,
    });
  }

  function streamOf(text: string, type = "text/event-stream; charset=utf-8"): Response {
    return new Response(text, { headers: { "Content-Type": type } });
  }

  const answer = (status: number, retryAfter?: string): Response =>
    new Response(null, { status, ...(retryAfter && { headers: { "Retry-After": retryAfter } }) });

  it("sends the id as UTF-8, the token, and its own Accept", async () => {
    const headers = { accept: "text/html", "X-Tenant": "a" };
    const end = await open(streamOf("data: x\n\n"), { headers, token: () => "t" }, { lastEventId: "é" });
    expect(end).to.deep.equal({ reason: "ended", isFinal: false });
    expect(Object.fromEntries(calls[0]!.headers)).to.deep.equal({
      accept: "text/event-stream",
      authorization: "Bearer t",
      "last-event-id": "Ã©",
      "x-tenant": "a",
    });
    expect(messages).to.deep.equal([{ event: "message", text: "x", id: "é" }]);
  });

  it("removes one byte order mark", async () => {
    await open(streamOf("\uFEFFdata: x\n\n"));
    expect(messages.map(({ text }) => text)).to.deep.equal(["x"]);
  });

  it("asks for the URL and the token of each connection, and tells that the last ones were refused", async () => {
    const asked: CredentialRequest[] = [];
    const url = async (request: CredentialRequest): Promise<string> => {
      asked.push(request);
      return "http://localhost/events?ticket=1";
    };
    const token = (request: CredentialRequest): string => {
      asked.push(request);
      return "t";
    };
    await open(streamOf(""), { token }, { url, isRefused: true });
    expect(asked).to.deep.equal([{ isRefused: true }, { isRefused: true }]);
    expect(calls[0]!.address).to.equal("http://localhost/events?ticket=1");
  });

  for (const [what, token] of [
    [
      "throws",
      () => {
        throw new Error("logged out");
      },
    ],
    ["rejects", () => Promise.reject(new Error("logged out"))],
    ["returns nothing", () => undefined as unknown as string],
    ["returns an empty text", () => ""],
    ["returns a line break", () => "a\nb"],
  ] as const) {
    it(`sends no request if the token function ${what}`, async () => {
      const { error, ...end } = await open(streamOf(""), { token });
      expect(end).to.deep.equal({ reason: "token", isFinal: false });
      expect(error).to.be.an.instanceOf(Error);
      expect(calls).to.deep.equal([]);
    });
  }

  for (const [what, url, message] of [
    ["throws", () => Promise.reject(new Error("no ticket")), "no ticket"],
    [
      "returns nothing",
      () => undefined as unknown as string,
      "The URL function returned undefined. Return a string or a URL.",
    ],
    [
      "returns null",
      () => null as unknown as string,
      "The URL function returned null. Return a string or a URL.",
    ],
    [
      "returns an object",
      () => Promise.resolve({} as string),
      "The URL function returned object. Return a string or a URL.",
    ],
  ] as const) {
    it(`sends no request if the URL function ${what}`, async () => {
      const { error, ...end } = await open(streamOf(""), {}, { url });
      expect(end).to.deep.equal({ reason: "url", isFinal: false });
      expect(error).to.be.an.instanceOf(Error).with.property("message", message);
      expect(calls).to.deep.equal([]);
    });
  }

  it("reports the error of `fetch`", async () => {
    const error = new Error("blocked");
    const source = createFetchSource("http://127.0.0.1:1/", { fetch: () => Promise.reject(error) });
    const listener = { onActivity() {}, onMessage() {}, onRetry() {}, ready: () => undefined };
    const end = await source.open({ lastEventId: "", isRefused: false, signal: closing.signal }, listener);
    expect(end).to.deep.equal({ reason: "network", isFinal: false, error });
  });

  it("sends no request if the stream was closed while it waited for the token", async () => {
    const token = (): Promise<string> => {
      closing.abort();
      return Promise.resolve("t");
    };
    const source = createFetchSource("http://127.0.0.1:1/", { token });
    const listener = { onActivity() {}, onMessage() {}, onRetry() {}, ready: () => undefined };
    const request = { lastEventId: "", isRefused: false, signal: closing.signal };
    expect((await source.open(request, listener)).reason).to.equal("network");
  });

  const token = (): string => "t";
  const outcomes: readonly (readonly [Response, Partial<SourceEnd>, FetchOptions?, boolean?])[] = [
    [answer(204), { reason: "completed", isFinal: true }],
    [answer(401), { reason: "unauthorized", isFinal: true }],
    [answer(401), { reason: "unauthorized", isFinal: false }, { token }],
    [answer(401), { reason: "unauthorized", isFinal: true }, { token }, true],
    [answer(403), { reason: "forbidden", isFinal: true }, { token }],
    [answer(404), { reason: "http-404", isFinal: true }],
    [answer(408), { reason: "http-408", isFinal: false }],
    [answer(429, "7"), { reason: "http-429", isFinal: false, retryAfterMs: 7_000 }],
    [answer(500), { reason: "http-500", isFinal: false }],
    [answer(502), { reason: "http-502", isFinal: false }],
    [answer(503, "Fri, 31 Dec 1999 23:59:59 GMT"), { reason: "http-503", isFinal: false, retryAfterMs: 0 }],
    [answer(504, "soon"), { reason: "http-504", isFinal: false }],
    [streamOf("<h1>Log in", "text/html"), { reason: "not-a-stream", isFinal: false }],
  ];
  for (const [response, end, options, isRefused = false] of outcomes) {
    const given = [response.headers.get("Retry-After"), options && "a token", isRefused && "refused"];
    it(`answers ${[response.status, ...given.filter(Boolean)].join(", ")} with ${end.reason}`, async () => {
      expect(await open(response, options, { isRefused })).to.deep.equal(end);
    });
  }

  it("ends a connection whose event does not end", async () => {
    const piece = new Uint8Array(1024 * 1024).fill(120);
    let isCancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(piece),
      cancel: () => void (isCancelled = true),
    });
    const response = new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    expect(await open(response)).to.deep.equal({ reason: "too-long", isFinal: false });
    expect(isCancelled).to.equal(true);
  });

  it("lets other work run after 10 ms of a chunk with many events", async () => {
    let now = 0;
    let turns = 0;
    sinon.stub(performance, "now").callsFake(() => now);
    const count = (): void => {
      turns += 1;
      if (messages.length < 10_000) setImmediate(count);
    };
    const reading = open(streamOf("data: x\n\n".repeat(10_000)));
    sinon.replace(messages, "push", (...items) => {
      now += 0.1;
      return Array.prototype.push.apply(messages, items);
    });
    setImmediate(count);
    await reading;
    expect(messages).to.have.length(10_000);
    expect(turns).to.be.at.least(50);
  });

  it("reads nothing more after it was closed, also if `fetch` ignores the signal", async () => {
    let pulls = 0;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          pulls += 1;
          closing.abort();
          controller.enqueue(new TextEncoder().encode("data: x\n\n"));
        },
      },
      { highWaterMark: 0 },
    );
    await open(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
    expect(pulls).to.equal(1);
  });
});
