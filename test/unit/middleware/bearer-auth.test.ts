import { IncomingMessage } from "node:http";
import { Socket } from "node:net";

import { expect } from "chai";

import { ConfigError } from "../../../lib/index.js";
import { bearerAuth } from "../../../middleware/bearer-auth.js";

const TOKEN = "s3cret-T0ken";

describe("bearerAuth()", () => {
  it("accepts the token", () => {
    expect(bearerAuth(TOKEN)(requestWith(`Bearer ${TOKEN}`))).to.equal(true);
  });

  for (const authorization of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    TOKEN,
    `bearer ${TOKEN}`,
    `Bearer  ${TOKEN}`,
    `Bearer ${TOKEN} `,
    ` Bearer ${TOKEN}`,
    `Basic ${TOKEN}`,
    `Bearer ${TOKEN.toUpperCase()}`,
    `Bearer ${TOKEN.slice(0, -1)}`,
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN} ${TOKEN}`,
    `Bearer ${TOKEN}\nBearer x`,
  ]) {
    it(`rejects ${JSON.stringify(authorization) ?? "a missing header"}`, () => {
      expect(bearerAuth(TOKEN)(requestWith(authorization))).to.equal(false);
    });
  }

  it("throws if the token is empty, has white space or is not a string", () => {
    for (const token of ["", " ", "a b", `${TOKEN}\n`, undefined, null, 5, ["x"]])
      expect(() => bearerAuth(token as string)).to.throw(ConfigError, /token/);
  });
});

function requestWith(authorization: string | undefined): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  if (authorization !== undefined) request.headers.authorization = authorization;
  return request;
}
