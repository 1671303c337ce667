import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

import { ConfigError } from "../lib/index.js";

/**
 * An `authorize` function that admits requests with `Authorization: Bearer <token>`, compared in constant
 * time. Throws `ConfigError` for a token that is empty or holds white space.
 */
export function bearerAuth(token: string): (req: IncomingMessage) => boolean {
  if (typeof token !== "string" || !/^\S+$/.test(token)) {
    throw new ConfigError("expected bearerAuth(token) with a non-empty string without white space");
  }
  const expected = digest(token);
  return ({ headers: { authorization = "" } }) => {
    // Exactly as RFC 6750 (2.1) writes it: what guards an operator's page need not be lenient.
    const given = /^Bearer (\S+)$/.exec(authorization)?.[1] ?? "";
    return timingSafeEqual(digest(given), expected);
  };
}

/** Digests are of one length, which is what timingSafeEqual asks for. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
