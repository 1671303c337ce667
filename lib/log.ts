import createDebug from "debug";

/** A logger of the `debug` package. `DEBUG=redis-sse:*` enables it. */
export interface Log {
  (format: string, ...values: unknown[]): void;
  /** Check this before you compute values that cost time. */
  readonly enabled: boolean;
}

export type LogNamespace =
  | "session"
  | "hub"
  | "history"
  | "pool"
  | "queue"
  | "tickets"
  | "worker"
  | "notifications"
  | "service"
  | "status"
  | "http";

/** Creates the logger of one part of the library, `redis-sse:<namespace>`. */
export function createLog(namespace: LogNamespace): Log {
  return createDebug(`redis-sse:${namespace}`);
}

// Control characters, line ends, and characters that change the direction of the text.
const FORGING = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

/** Prepares a name for logs and messages. If the name could forge a line or reverse its text, it is quoted and escaped. */
export function printable(name: string): string {
  if (!FORGING.test(name)) return name;
  // JSON.stringify() escapes only some of these characters.
  return JSON.stringify(name).replace(
    new RegExp(FORGING, "gu"),
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
