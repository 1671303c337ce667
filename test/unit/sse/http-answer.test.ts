import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import type { ErrorCode } from "../../../lib/catalogue/error-catalogue.js";
import { answerTo, encodeFault, jitteredRetryMs, streamHead } from "../../../lib/sse/http-answer.js";
import { parseEvents } from "../../support/sse-client.js";

const options = { onUnavailable: "event", retryMs: 2_000, random: () => 0.5 } as const;

describe("answerTo()", () => {
  const final: readonly [ErrorCode, number][] = [
    ["INVALID_CHANNEL", 400],
    ["LIMIT_CHANNELS", 400],
    ["FORBIDDEN", 403],
    ["METHOD_NOT_ALLOWED", 405],
    ["NOT_ACCEPTABLE", 406],
    ["CONFIG", 500],
    ["NO_SOCKET", 503],
  ];
  for (const [code, status] of final) {
    it(`answers ${code} with ${status} and JSON for both values of onUnavailable`, () => {
      for (const onUnavailable of ["event", "status"] as const) {
        const answer = answerTo(new RedisSseError(code, "why"), { ...options, onUnavailable });
        expect(answer.status).to.equal(status);
        expect(answer.headers).to.include({
          "Content-Type": "application/json; charset=utf-8",
          "Cache-Control": "no-store",
        });
        expect(JSON.parse(answer.body.toString())).to.deep.equal({ error: { code, message: "why" } });
      }
    });
  }

  it("answers COMPLETED with 204 and no body, so that EventSource stops", () => {
    const answer = answerTo(new RedisSseError("COMPLETED", "over"), options);
    expect(answer.status).to.equal(204);
    expect(answer.body).to.have.length(0);
    expect(answer.headers).to.deep.equal({ "Cache-Control": "no-store" });
  });

  it("answers LIMIT_SESSIONS_PER_KEY with a retryable error and a retry of at least 5 s", () => {
    const fault = new RedisSseError("LIMIT_SESSIONS_PER_KEY", "why");
    for (const onLimit of [undefined, "event", "evict-oldest"] as const) {
      const event = answerTo(fault, { ...options, onLimit });
      expect(event.status).to.equal(200);
      expect(event.body.toString()).to.match(/^retry: 7500\n/);
      const status = answerTo(fault, { ...options, onLimit, onUnavailable: "status" });
      expect(status.status).to.equal(503);
      expect(status.headers).to.include({ "Retry-After": "8" });
    }
    expect(answerTo(fault, { ...options, retryMs: 10_000 }).body.toString()).to.match(/^retry: 15000\n/);
  });

  it('answers LIMIT_SESSIONS_PER_KEY with 429 and Retry-After if onLimit is "status"', () => {
    for (const onUnavailable of ["event", "status"] as const) {
      const fault = new RedisSseError("LIMIT_SESSIONS_PER_KEY", "why");
      const answer = answerTo(fault, { ...options, onUnavailable, onLimit: "status" });
      expect(answer.status).to.equal(429);
      expect(answer.headers).to.include({ "Retry-After": "3", "Cache-Control": "no-store" });
      expect(JSON.parse(answer.body.toString())).to.deep.equal({
        error: { code: "LIMIT_SESSIONS_PER_KEY", message: "why" },
      });
    }
  });

  it("lists the allowed methods for a 405 and asks for a new connection without a socket", () => {
    const headersOf = (code: ErrorCode): unknown => answerTo(new RedisSseError(code, ""), options).headers;
    expect(headersOf("METHOD_NOT_ALLOWED")).to.include({ Allow: "GET, HEAD" });
    const fault = new RedisSseError("METHOD_NOT_ALLOWED", "");
    const allow = ["GET", "HEAD", "POST"];
    expect(answerTo(fault, { ...options, allow }).headers).to.include({ Allow: "GET, HEAD, POST" });
    expect(headersOf("NO_SOCKET")).to.include({ Connection: "close" });
    expect(headersOf("FORBIDDEN")).not.to.have.any.keys("Retry-After", "Allow", "Connection");
  });

  const passing = [
    "RESOLVER_TIMEOUT",
    "POOL_EXHAUSTED",
    "REDIS_UNAVAILABLE",
    "REDIS_AUTH",
    "REDIS_REFUSED",
    "SUBSCRIBE_REFUSED",
    "LIMIT_SESSIONS",
    "CLOSED",
    "TIMEOUT",
    "INTERNAL",
    "MY_CODE" as "INTERNAL",
  ] as const;
  for (const code of passing) {
    it(`answers ${code} with an error event and retry, or with 503 and Retry-After`, () => {
      const fault = Object.assign(new RedisSseError(code, "why"), { host: "redis.internal" });
      const event = answerTo(fault, options);
      expect(event).to.deep.include({ status: 200, headers: streamHead.headers });
      expect(event.body.toString()).to.equal(
        `retry: 3000\nevent: error\ndata: {"code":"${code}","message":"why"}\n\n`,
      );
      const status = answerTo(fault, { ...options, onUnavailable: "status" });
      expect(status.status).to.equal(503);
      expect(status.headers).to.include({ "Retry-After": "3", "Cache-Control": "no-store" });
      expect(JSON.parse(status.body.toString())).to.deep.equal({ error: { code, message: "why" } });
    });
  }

  it("never sends a Retry-After of less than one second", () => {
    const answer = answerTo(new RedisSseError("TIMEOUT", ""), {
      onUnavailable: "status",
      retryMs: 1,
      random: () => 0,
    });
    expect(answer.headers["Retry-After"]).to.equal("1");
  });
});

describe("encodeFault()", () => {
  it("keeps a message with line breaks inside one event", () => {
    const events = parseEvents(encodeFault(new RedisSseError("TIMEOUT", "a\n\ndata: b"), 5));
    expect(events).to.have.length(1);
    expect(JSON.parse(events[0]!.data)).to.deep.equal({ code: "TIMEOUT", message: "a\n\ndata: b" });
  });
});

describe("jitteredRetryMs()", () => {
  it("returns whole milliseconds between one and two times retryMs", () => {
    expect(jitteredRetryMs({ retryMs: 2_000, random: () => 0 })).to.equal(2_000);
    expect(jitteredRetryMs({ retryMs: 2_000, random: () => 0.999_999 })).to.equal(4_000);
    for (let round = 0; round < 100; round++) {
      const retryMs = jitteredRetryMs({ retryMs: 1_001 });
      expect(retryMs).to.be.within(1_001, 2_002);
      expect(Number.isInteger(retryMs)).to.equal(true);
    }
  });
});
