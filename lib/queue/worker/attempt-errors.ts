import { cutBytes } from "../../thrown.js";

/** The errors of a task's last attempts as one text, which begins with the newest. */

const MAX_BYTES = 8 * 1024;
const MAX_EARLIER_BYTES = 2 * 1024;
/** Beside the newest. */
const MAX_EARLIER = 2;
const SEPARATOR = "Earlier attempt: ";

/** Puts the newest error before those that are stored, of which the last two are kept. At most 8 KB of UTF-8. */
export function addError(newest: string, stored: string): string {
  const earlier = stored === "" ? [] : stored.split(`\n${SEPARATOR}`).slice(0, MAX_EARLIER);
  const rest = earlier.map((text) => `\n${SEPARATOR}${cutBytes(text, MAX_EARLIER_BYTES)}`).join("");
  // A line of the error itself that looks like a separator is none.
  const own = newest.replaceAll(`\n${SEPARATOR}`, `\n ${SEPARATOR}`);
  return cutBytes(own, MAX_BYTES - Buffer.byteLength(rest)) + rest;
}
