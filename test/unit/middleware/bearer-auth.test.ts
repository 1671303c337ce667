import { IncomingMessage } from "node:http";
import { Socket } from "node:net";

import { expect } from "chai";

import { ConfigError } from "../../../lib/index.js";
import { bearerAuth } from "../../../middleware/bearer-auth.js";

const TOKEN = "s3cret-T0ken";

describe("bearerAuth()", () => {
  it("admits the token", () => {
    expect(bearerAuth(TOKEN)(requestWith(`Bearer ${TOKEN}`))).to.equal(true);
  });

  const refused = {
    "no header": undefined,
    "an empty header": "",
    "the scheme alone": "Bearer",
    "the scheme and a space": "Bearer ",
    "the scheme and one character": "Bearer x",
    "the token alone": TOKEN,
    "a scheme in lower case": `bearer ${TOKEN}`,
    "a scheme in upper case": `BEARER ${TOKEN}`,
    "more than one space": `Bearer  ${TOKEN}`,
    "a space behind the token": `Bearer ${TOKEN} `,
    "a space before the scheme": ` Bearer ${TOKEN}`,
    "another scheme": `Basic ${TOKEN}`,
    "the scheme without a space": `Bearer${TOKEN}`,
    "a token in another case": `Bearer ${TOKEN.toUpperCase()}`,
    "the beginning of the token": `Bearer ${TOKEN.slice(0, -1)}`,
    "the token and one character more": `Bearer ${TOKEN}x`,
    "two tokens": `Bearer ${TOKEN} ${TOKEN}`,
    "something before the scheme": `x Bearer ${TOKEN}`,
    "a second line": `Bearer ${TOKEN}\nBearer x`,
  };
  for (const [what, authorization] of Object.entries(refused)) {
    it(`refuses ${what}`, () => {
      expect(bearerAuth(TOKEN)(requestWith(authorization))).to.equal(false);
    });
  }

  it("answers for a very long header at once", () => {
    expect(bearerAuth(TOKEN)(requestWith(`Bearer ${" ".repeat(100_000)}x y`))).to.equal(false);
  }).timeout(1_000);

  for (const token of ["", " ", "a b", `${TOKEN}\n`, undefined, null, 5, ["x"]]) {
    it(`is not made with ${JSON.stringify(token)} as its token`, () => {
      expect(() => bearerAuth(token as string)).to.throw(ConfigError, /token/);
    });
  }
});

function requestWith(authorization: string | undefined): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  if (authorization !== undefined) request.headers.authorization = authorization;
  return request;
}
