import { RedisSseError } from "./errors.js";

/** `value` as JSON. Throws `UNSERIALIZABLE` for what JSON has no text for: a circle, a BigInt, a function. */
export function encodeJson(value: unknown, what: string): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(value) as string | undefined;
  } catch {
    // It may be a toJSON() that threw, whose message may say anything.
  }
  if (json !== undefined) return json;
  throw new RedisSseError("UNSERIALIZABLE", `expected ${what} that JSON can express, got ${typeof value}`);
}

/** Whether `text` takes more than `maxBytes` of UTF-8, counting only where its length leaves that open. */
export function isLargerThan(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes;
}
