import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

import { ConfigError } from "../lib/index.js";

/**
 * Creates an `authorize` function that accepts requests with `Authorization: Bearer <token>`.
 *
 * The comparison takes constant time. Throws `ConfigError` if the token is empty or contains white space.
 */
export function bearerAuth(token: string): (req: IncomingMessage) => boolean {
  if (typeof token !== "string" || !/^\S+$/.test(token)) {
    throw new ConfigError(
      "expected the token of bearerAuth() as a string that is not empty and has no white space",
    );
  }
  const expected = digest(token);
  return ({ headers: { authorization = "" } }) => {
    // The exact form of RFC 6750, section 2.1. Operators' tools send it, so other spellings are refused.
    const given = /^Bearer (\S+)$/.exec(authorization)?.[1] ?? "";
    return timingSafeEqual(digest(given), expected);
  };
}

/** `timingSafeEqual()` needs two buffers of the same length. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
