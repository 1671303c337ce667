import { isDeepStrictEqual } from "node:util";

import type { Request } from "express";

/** Query parsers make at most five levels by default. */
const MAX_DEPTH = 8;

/**
 * Whether a resolver returned an object that a parser made from the request: `req.query.room` is an object for
 * `?room[channels]=a&room[key]=ann`, and `req.query` itself for `?channels=a&key=ann`. Its rights would be the choice of the client.
 * `cookie-parser` makes objects too, from cookies that start with `j:`.
 */
export function isClientObject<Params>(answer: unknown, req: Request<Params>): boolean {
  if (typeof answer !== "object" || answer === null || Array.isArray(answer)) return false;
  // Express 5 parses the query again at each access. An application can validate and copy a body, but the copy is its own.
  return (
    contains([req.query], (value) => isDeepStrictEqual(value, answer)) ||
    contains([req.body, req.cookies], (value) => value === answer)
  );
}

function contains(input: unknown, isWanted: (value: unknown) => boolean, depth = 0): boolean {
  if (typeof input !== "object" || input === null || depth > MAX_DEPTH) return false;
  return Object.values(input).some((value) => isWanted(value) || contains(value, isWanted, depth + 1));
}
