import type * as errors from "../../lib/errors.js";

/** Loads another copy of the errors, as in a process that uses both the ES modules and the CommonJS build. */
export async function anotherCopy(): Promise<typeof errors> {
  const copy = new URL("../../lib/errors.js?copy", import.meta.url);
  return (await import(copy.href)) as typeof errors;
}
