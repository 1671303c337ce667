import { expect } from "chai";

/**
 * Checks an error answer. It must be JSON with a code and a sentence, must not be cached, and must not repeat the
 * input.
 */
export async function expectRefusal(
  response: Response,
  status: number,
  code: string,
  secret?: string,
): Promise<void> {
  const text = await response.text();
  expect(response.status, text).to.equal(status);
  expect(response.headers.get("content-type")).to.equal("application/json; charset=utf-8");
  expect(response.headers.get("cache-control")).to.equal("no-store");
  const body = JSON.parse(text) as { error: { code: string; message: string } };
  expect(Object.keys(body)).to.deep.equal(["error"]);
  expect(Object.keys(body.error)).to.deep.equal(["code", "message"]);
  expect(body.error.code).to.equal(code);
  expect(body.error.message).to.be.a("string").and.to.not.equal("");
  expect(text).to.not.match(/\bat .*:\d+:\d+/); // a stack trace
  if (secret !== undefined) expect(text + [...response.headers].join("\n")).to.not.include(secret);
}
