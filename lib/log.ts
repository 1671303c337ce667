import createDebug from "debug";

/** A `debug` logger: enabled by `DEBUG=redis-sse:*`, costs nothing when it is off. */
export interface Log {
  (format: string, ...values: unknown[]): void;
  /** Asked where the values themselves cost something. */
  readonly enabled: boolean;
}

export type LogNamespace =
  | "session"
  | "hub"
  | "history"
  | "pool"
  | "queue"
  | "worker"
  | "notifications"
  | "service"
  | "status"
  | "http";

/** The logger of one part of the library, `redis-sse:<namespace>`. */
export function createLog(namespace: LogNamespace): Log {
  return createDebug(`redis-sse:${namespace}`);
}

// What a terminal may act on, take for the end of a line, or take for a change of the text's direction.
const FORGING = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

/** A name as logs and messages show it everywhere: one that could forge a line or reverse its text is shown escaped, in quotes. */
export function printable(name: string): string {
  if (!FORGING.test(name)) return name;
  // JSON escapes only some of them.
  return JSON.stringify(name).replace(
    new RegExp(FORGING, "gu"),
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
