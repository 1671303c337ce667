import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";

import { expect } from "chai";
import express, { type Request, type Response } from "express";

import { ConfigError } from "../../../lib/index.js";
import { sseStream, taskCancel, taskStream, type SseStreamOptions } from "../../../middleware/express.js";
import { Origins } from "../../../middleware/origins.js";
import { recordingLog } from "../../support/recording-logger.js";

const LISTED = "https://app.example.com";
const OTHER = "https://app.example.com.evil.example";

type Option = SseStreamOptions["allowOrigins"];
type Headers = Readonly<Record<string, string | undefined>>;

/** The answer of a mount to one request, and the headers that it has set. */
function ask(
  option: Option,
  headers: Headers,
  { method = "GET", inFront = {}, origins = new Origins(option, ["GET", "HEAD", "PUT"]) } = {},
) {
  const req = new IncomingMessage(new Socket());
  req.method = method;
  Object.assign(req.headers, headers);
  const res = Object.setPrototypeOf(new ServerResponse(req), express.response) as Response;
  for (const [name, value] of Object.entries(inFront)) res.setHeader(name, value as string);
  const service = recordingLog();
  const answer = origins.answer(req as Request, res, service);
  return { answer, set: { ...res.getHeaders() }, lines: service.lines };
}

/** All combinations of the values of each member. */
function product<T extends Readonly<Record<string, readonly unknown[]>>>(
  values: T,
): { [Name in keyof T]: T[Name][number] }[] {
  return Object.entries(values).reduce<object[]>(
    (rows, [name, each]) => rows.flatMap((row) => each.map((value) => ({ ...row, [name]: value }))),
    [{}],
  ) as { [Name in keyof T]: T[Name][number] }[];
}

const REQUESTS = product({
  origin: [undefined, LISTED, OTHER, "null", "*"],
  "sec-fetch-site": [undefined, "none", "same-origin", "same-site", "cross-site"],
  "sec-fetch-mode": [undefined, "cors", "no-cors", "navigate"],
  "sec-fetch-dest": [undefined, "document", "iframe"],
  cookie: [undefined, "sid=1"],
});

const EXPOSED = { "access-control-expose-headers": "Retry-After" };
const OPEN_TO_ALL = { "access-control-allow-origin": "*", ...EXPOSED };
const OPEN_TO_LISTED = {
  vary: "Origin",
  "access-control-allow-origin": LISTED,
  "access-control-allow-credentials": "true",
  ...EXPOSED,
};

describe("Origins", () => {
  /** The requests that may not pass, and the headers of all answers, for each option. */
  const cases: readonly {
    readonly name: string;
    readonly option: Option;
    readonly refused: readonly (string | undefined)[];
    readonly headers: (origin: string | undefined, isRefused: boolean) => object;
  }[] = [
    {
      name: "without the option",
      option: undefined,
      refused: [undefined, LISTED, OTHER, "null", "*"],
      headers: (_, isRefused) => (isRefused ? { vary: "Origin" } : {}),
    },
    {
      name: "with a list",
      option: ["https://first.example.com", LISTED],
      refused: [undefined, OTHER, "null", "*"],
      headers: (origin) => (origin === LISTED ? OPEN_TO_LISTED : { vary: "Origin" }),
    },
    {
      name: 'with "*"',
      option: "*",
      refused: [undefined, LISTED, OTHER, "null", "*"],
      headers: (_, isRefused) => ({ ...(isRefused && { vary: "Origin" }), ...OPEN_TO_ALL }),
    },
  ];

  for (const { name, option, refused, headers } of cases) {
    it(`refuses requests of other sites with cookies, and sets CORS headers, ${name}`, () => {
      for (const request of REQUESTS) {
        const isAsUser =
          request["sec-fetch-site"] === "cross-site" &&
          !(request["sec-fetch-mode"] === "navigate" && request["sec-fetch-dest"] !== "iframe") &&
          request.cookie !== undefined;
        const isRefused = isAsUser && refused.includes(request.origin);
        const { answer, set } = ask(option, request);
        expect(answer?.status, JSON.stringify(request)).to.equal(isRefused ? 403 : undefined);
        expect(set, JSON.stringify(request)).to.deep.equal(headers(request.origin, isRefused));
      }
    });

    it(`leaves the decision to middleware in front that allows the origin, ${name}`, () => {
      for (const request of REQUESTS.filter(({ origin }) => origin !== undefined)) {
        const inFront = { "access-control-allow-origin": request.origin! };
        const { answer, set } = ask(option, request, { inFront });
        expect(answer, JSON.stringify(request)).to.equal(null);
        expect(set, JSON.stringify(request)).to.deep.equal(inFront);
      }
    });

    it(`refuses requests of other sites with cookies if middleware in front allows every origin, ${name}`, () => {
      const inFront = { "access-control-allow-origin": "*" };
      for (const origin of [undefined, LISTED, OTHER]) {
        const request = { origin, "sec-fetch-site": "cross-site" };
        expect(ask(option, request, { inFront }).answer).to.equal(null);
        expect(ask(option, { ...request, cookie: "sid=1" }, { inFront }).answer?.status).to.equal(403);
      }
    });

    it(`refuses requests of other sites if middleware in front allows another origin, ${name}`, () => {
      const request = { origin: LISTED, "sec-fetch-site": "cross-site", cookie: "sid=1" };
      const inFront = { "access-control-allow-origin": "https://front.example.com" };
      const { answer, set } = ask(option, request, { inFront });
      expect(answer?.status).to.equal(403);
      expect(set).to.deep.equal({ ...inFront, vary: "Origin" });
    });
  }

  it("appends to an existing Vary", () => {
    const { set } = ask([LISTED], {}, { inFront: { vary: "Accept-Encoding" } });
    expect(set["vary"]).to.equal("Accept-Encoding, Origin");
  });

  describe("for a preflight request", () => {
    const PREFLIGHT = {
      origin: LISTED,
      "access-control-request-method": "GET",
      "sec-fetch-site": "cross-site",
    };
    const PERMISSIONS = {
      "Access-Control-Allow-Methods": "GET, HEAD, PUT",
      "Access-Control-Allow-Headers": "Last-Event-ID, Authorization, Content-Type, Cache-Control",
      "Access-Control-Max-Age": "600",
    };
    const options = { method: "OPTIONS" };

    it("gives allowed origins the permission, and echoes no requested header", () => {
      const headers = { ...PREFLIGHT, "access-control-request-headers": "x-other", cookie: "sid=1" };
      const listed = ask([LISTED], headers, options);
      expect(listed.answer).to.deep.include({ status: 204, headers: PERMISSIONS });
      expect(listed.set).to.deep.equal(OPEN_TO_LISTED);
      const any = ask("*", { ...headers, origin: OTHER }, options);
      expect(any.answer).to.deep.include({ status: 204, headers: PERMISSIONS });
      expect(any.set).to.deep.equal(OPEN_TO_ALL);
    });

    it("gives another origin no CORS header", () => {
      for (const origin of [OTHER, "null", LISTED.toUpperCase(), `${LISTED}, ${OTHER}`]) {
        const { answer, set } = ask([LISTED], { ...PREFLIGHT, origin }, options);
        expect(answer).to.deep.include({ status: 204, headers: {} });
        expect(set).to.deep.equal({ vary: "Origin" });
      }
    });

    it("adds nothing to the headers of middleware in front", () => {
      const inFront = { "access-control-allow-origin": LISTED };
      const { answer, set } = ask([LISTED], PREFLIGHT, { ...options, inFront });
      expect(answer).to.deep.include({ status: 204, headers: {} });
      expect(set).to.deep.equal(inFront);
    });

    it("has no answer without the option, and for another OPTIONS request", () => {
      expect(ask(undefined, PREFLIGHT, options).answer).to.equal(null);
      expect(ask([LISTED], { origin: LISTED }, options).answer).to.equal(null);
      expect(ask([LISTED], { ...PREFLIGHT, origin: undefined }, options).answer).to.equal(null);
      expect(ask([LISTED], PREFLIGHT, { method: "POST" }).answer).to.equal(null);
    });
  });

  it("warns once, with the name of the option and the origin cut to a short text", () => {
    const origins = new Origins(undefined, ["GET"]);
    const headers = { "sec-fetch-site": "cross-site", cookie: "sid=1" };
    const { lines } = ask(undefined, { ...headers, origin: `${OTHER}\n${"x".repeat(9_000)}` }, { origins });
    expect(lines).to.have.length(1);
    expect(lines[0])
      .to.match(/^warn .*app\.example\.com\.evil\.example\\n.*allowOrigins/)
      .and.to.not.include("sid");
    expect(lines[0]!.length).to.be.lessThan(700);
    expect(ask(undefined, headers, { origins }).lines).to.deep.equal([]);
    expect(ask(undefined, headers).lines[0]).to.include("Its origin is unknown.");
  });
});

describe("the option allowOrigins", () => {
  const mounts = [
    (allowOrigins: unknown) => () => void sseStream(() => null, { allowOrigins } as SseStreamOptions),
    (allowOrigins: unknown) => () => void taskStream(() => null, { allowOrigins } as SseStreamOptions),
    (allowOrigins: unknown) => () => void taskCancel(() => null, { allowOrigins } as SseStreamOptions),
  ];

  it("accepts origins in the form of a browser", () => {
    for (const mount of mounts) {
      const origins = [LISTED, "http://localhost:3000", "http://[::1]:8080", "https://xn--bcher-kva.example"];
      for (const value of [undefined, "*", origins]) expect(mount(value)).not.to.throw();
    }
  });

  for (const [what, value, hint] of [
    ["a path", ["https://a.example/app"], '"https://a.example"'],
    ["a slash at the end", [LISTED, "https://a.example/"], '"https://a.example"'],
    ["an upper-case host", ["https://A.example"], '"https://a.example"'],
    ["the default port", ["https://a.example:443"], '"https://a.example"'],
    ["white space", [" https://a.example"], '"https://a.example"'],
    ["a host that is not in ASCII", ["https://bücher.example"], '"https://xn--bcher-kva.example"'],
    ["a password", ["https://user:secret@a.example"], '"https://a.example"'],
    ["no scheme", ["a.example"], "such as"],
    ["a pattern", ["https://*.example.com"], "such as"],
    ["the origin null", ["null"], "such as"],
    ["a scheme without origins", ["data:text/html,secret"], "such as"],
    ["a star in a list", ["*"], "such as"],
    ["a value that is not text", [/a\.example/], "got an object"],
    ["an empty list", [], 'as "*" or a non-empty array'],
    ["one text", LISTED, 'as "*" or a non-empty array'],
    ["null", null, 'as "*" or a non-empty array'],
    ["true", true, 'as "*" or a non-empty array'],
    ["a Set", new Set([LISTED]), 'as "*" or a non-empty array'],
  ] as const) {
    it(`refuses ${what}`, () => {
      for (const mount of mounts) {
        expect(mount(value))
          .to.throw(ConfigError, "allowOrigins")
          .with.property("message")
          .that.includes(hint)
          .and.does.not.include("secret");
      }
    });
  }
});
