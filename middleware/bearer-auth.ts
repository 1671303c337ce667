import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

import { ConfigError } from "../lib/index.js";

/**
 * An `authorize` function that admits requests with `Authorization: Bearer <token>`, compared in constant
 * time. Throws `ConfigError` for an empty token.
 */
export function bearerAuth(token: string): (req: IncomingMessage) => boolean {
  if (typeof token !== "string" || token === "")
    throw new ConfigError("expected token as a non-empty string");
  const expected = digest(token);
  return ({ headers: { authorization = "" } }) => {
    // The scheme's name is case-insensitive (RFC 9110, 11.1); the token has no spaces (RFC 6750, 2.1).
    const given = /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? "";
    return timingSafeEqual(digest(given), expected);
  };
}

/** Digests are of one length, which is what timingSafeEqual asks for. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
