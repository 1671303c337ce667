import { inspect, types } from "node:util";

/** An application may throw anything, and nothing of it can be relied on: its properties may throw as well. */

const MAX_BYTES = 8 * 1024;
/** Characters of one message. */
const MAX_MESSAGE = 2_000;
const MAX_NAME = 100;
const MAX_CAUSES = 5;
/** Characters at the end of a stack that are searched for frames. */
const MAX_STACK = 8_000;
const MAX_FRAMES = 10;
const MAX_ITEMS = 10;
const MAX_PROPERTIES = 1_000;

/** `instanceof`, which throws for some proxies. */
export function isInstance<T>(value: unknown, type: abstract new (...args: never[]) => T): value is T {
  try {
    return value instanceof type;
  } catch {
    return false;
  }
}

/** A property, or `undefined` if it cannot be read. */
export function readProperty(value: unknown, name: string): unknown {
  try {
    return (value as Readonly<Record<string, unknown>> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}

/**
 * What was thrown, as text for operators: name, message, stack and up to five causes, at most 8 KB of UTF-8. Never throws.
 */
export function describeThrown(thrown: unknown): string {
  const parts: string[] = [];
  for (let each = thrown; parts.length <= MAX_CAUSES;) {
    parts.push(describeOne(each));
    each = isError(each) ? readProperty(each, "cause") : undefined;
    if (each === undefined || each === null) break;
  }
  return cutBytes(parts.join("\nCaused by: "), MAX_BYTES);
}

/** The name of an error, or a type, for a log. Never throws. */
export function nameOfThrown(thrown: unknown): string {
  if (!isError(thrown)) return typeof thrown;
  const name = readProperty(thrown, "name");
  return typeof name === "string" && name !== "" ? name.slice(0, MAX_NAME) : "Error";
}

/** A rejected promise can be thrown too. Nobody waits for it, and Node would end the process. Never throws. */
export function ignoreRejection(thrown: unknown): void {
  if (!types.isPromise(thrown)) return;
  try {
    void Promise.prototype.then.call(thrown, undefined, () => {});
  } catch {
    // A promise whose `constructor` throws cannot be waited for.
  }
}

/** The beginning of a text that fits into so many bytes of UTF-8, without half of a character at its end. */
export function cutBytes(text: string, maxBytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(maxBytes));
  return text.slice(0, read);
}

function describeOne(value: unknown): string {
  if (typeof value === "string" && value !== "") return value.slice(0, MAX_MESSAGE);
  if (!isError(value)) return `threw ${inspectSafely(value)}`;
  const message = readProperty(value, "message");
  const text = message === undefined || typeof message === "string" ? message : inspectSafely(message);
  const head = nameOfThrown(value) + (text ? `: ${text.slice(0, MAX_MESSAGE)}` : "");
  return [head, ...framesOf(value)].join("\n");
}

/** The lines of a stack behind its message. */
function framesOf(error: unknown): readonly string[] {
  const stack = readProperty(error, "stack");
  if (typeof stack !== "string") return [];
  const lines = stack.slice(-MAX_STACK).split("\n");
  return lines.filter((line) => /^ +at /.test(line)).slice(0, MAX_FRAMES);
}

/** An error of any realm, or an object that has what an error has. */
function isError(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (types.isNativeError(value) || isInstance(value, Error)) return true;
  return (
    typeof readProperty(value, "message") === "string" && typeof readProperty(value, "stack") === "string"
  );
}

/**
 * Whether `inspect()` would read more than `left` properties: it bounds arrays and strings, but not objects. Nothing of the
 * value is called.
 */
function isLarge(value: unknown, depth = 2, budget = { left: MAX_PROPERTIES }): boolean {
  if (typeof value !== "object" || value === null || types.isProxy(value) || depth < 0) return false;
  const isList = Array.isArray(value) || ArrayBuffer.isView(value);
  const keys = isList ? Array.from({ length: MAX_ITEMS }, (_, index) => String(index)) : Object.keys(value);
  budget.left -= keys.length;
  if (budget.left < 0) return true;
  return keys.some((key) => isLarge(Object.getOwnPropertyDescriptor(value, key)?.value, depth - 1, budget));
}

function inspectSafely(value: unknown): string {
  try {
    if (isLarge(value)) return `an object with more than ${MAX_PROPERTIES} properties`;
    // Proxies are shown without their traps, and nothing of the value is called.
    const text = inspect(value, {
      depth: 2,
      maxArrayLength: MAX_ITEMS,
      maxStringLength: MAX_MESSAGE,
      customInspect: false,
      showProxy: true,
      breakLength: Infinity,
    });
    return text.slice(0, MAX_MESSAGE);
  } catch {
    return `a value of type ${typeof value} that cannot be shown`;
  }
}
