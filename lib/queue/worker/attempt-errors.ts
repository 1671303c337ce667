import { cutBytes } from "../../thrown.js";

/** Limits for the stored errors of a task, which are one text. */
const MAX_BYTES = 8 * 1024;
const MAX_EARLIER_BYTES = 2 * 1024;
const MAX_EARLIER = 2;
const SEPARATOR = "Earlier attempt: ";

/** Adds the newest error before the stored errors, and keeps the last two of these. Returns at most 8 KB of UTF-8. */
export function addError(newest: string, stored: string): string {
  const earlier = stored === "" ? [] : stored.split(`\n${SEPARATOR}`).slice(0, MAX_EARLIER);
  const rest = earlier.map((text) => `\n${SEPARATOR}${cutBytes(text, MAX_EARLIER_BYTES)}`).join("");
  // A space is added before each line of the error that looks like a separator.
  const own = newest.replaceAll(`\n${SEPARATOR}`, `\n ${SEPARATOR}`);
  return cutBytes(own, MAX_BYTES - Buffer.byteLength(rest)) + rest;
}
