import { createHmac } from "node:crypto";

import { expect } from "chai";
import * as fc from "fast-check";

import { IdTokens } from "../../../lib/sse/id-token.js";

const [OLD, NEW] = ["an old secret of 32 characters...", "a new secret of 32 characters..."];
const USE = { purpose: "test", key: "ann" };
const CONTENT = Buffer.from("content");

describe("IdTokens", () => {
  const tokens = new IdTokens([OLD]);

  it("returns the content of its own tokens, for the same purpose and key", () => {
    const keys = fc.option(fc.string({ unit: "binary" }), { nil: undefined });
    fc.assert(
      fc.property(fc.string(), keys, fc.uint8Array(), (purpose, key, bytes) => {
        const token = tokens.seal({ purpose, key }, Buffer.from(bytes));
        expect(token).to.match(/^[\w-]{22,}$/);
        expect(tokens.open({ purpose, key }, token)?.content).to.deep.equal(Buffer.from(bytes));
      }),
    );
  });

  it("writes the token that docs/protocol.md describes", () => {
    const mac = (head: string): Buffer => createHmac("sha256", OLD).update(`${head}content`).digest();
    const token = (head: string): string =>
      Buffer.concat([mac(head).subarray(0, 16), CONTENT]).toString("base64url");
    expect(tokens.seal(USE, CONTENT)).to.equal(token('["test","ann"]'));
    expect(tokens.seal({ ...USE, key: undefined }, CONTENT)).to.equal(token('["test",null]'));
  });

  it("rejects the tokens of another purpose or key, and distinguishes no key from every key", () => {
    const keys = [undefined, "", "null", "ann", "ann\0", "\ud800", "\ud801"];
    for (const key of keys) {
      const token = tokens.seal({ ...USE, key }, CONTENT);
      const accepting = keys.filter((other) => tokens.open({ ...USE, key: other }, token) !== null);
      expect(accepting).to.deep.equal([key]);
    }
    // The key and the content are signed as two texts.
    const moved = tokens.seal({ ...USE, key: "an" }, Buffer.from("ncontent"));
    expect(tokens.open(USE, moved)).to.equal(null);
    expect(tokens.open({ ...USE, purpose: "other" }, tokens.seal(USE, CONTENT))).to.equal(null);
  });

  it("signs with the first secret and accepts the tokens of all", () => {
    const rotated = new IdTokens([NEW, OLD]);
    expect(rotated.open(USE, tokens.seal(USE, CONTENT))?.content).to.deep.equal(CONTENT);
    expect(tokens.open(USE, rotated.seal(USE, CONTENT))).to.equal(null);
    expect(new IdTokens([OLD, NEW]).open(USE, rotated.seal(USE, CONTENT))?.content).to.deep.equal(CONTENT);
  });

  it("gives channels other tags with another secret, and reads those of the secret that signed", () => {
    const rotated = new IdTokens([NEW, OLD]);
    const tags = ["room:1", "room:2"].flatMap((name) => [tokens.tagOf(name), rotated.tagOf(name)]);
    expect(new Set(tags)).to.have.length(4);
    expect(rotated.open(USE, tokens.seal(USE, CONTENT))!.tagOf("room:1")).to.equal(tokens.tagOf("room:1"));
    expect(tokens.open(USE, tokens.seal(USE, CONTENT))!.tagOf("room:1")).to.equal(tokens.tagOf("room:1"));
  });

  it("rejects any other text, and any change of a bit", () => {
    const token = tokens.seal(USE, CONTENT);
    const bytes = Buffer.from(token, "base64url");
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(tokens.open(USE, changed.toString("base64url")), `bit ${bit}`).to.equal(null);
    }
    for (let length = 0; length < token.length; length++) {
      expect(tokens.open(USE, token.slice(0, length)), `${length} characters`).to.equal(null);
    }
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 100 }), (text) => {
        expect(tokens.open(USE, text)).to.equal(null);
      }),
    );
  });
});
