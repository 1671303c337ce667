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

// What a terminal may act on, or take for the end of a line.
// oxlint-disable-next-line no-control-regex -- control characters are what this looks for
const FORGING = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/** The same words a name is logged with everywhere: one that could forge a log line is shown escaped. */
export function printable(name: string): string {
  if (!FORGING.test(name)) return name;
  // JSON escapes only some of them.
  return JSON.stringify(name).replace(
    new RegExp(FORGING, "g"),
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
