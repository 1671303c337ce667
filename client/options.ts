import type { EventDefinitions, EventSchemas } from "./define-events.js";
import type { FetchOptions } from "./fetch-source.js";

/** Options of `connect()`. */
export interface ConnectOptions<Schemas extends EventSchemas = EventSchemas> extends FetchOptions {
  /**
   * The events of the stream. Data that does not match its schema is not delivered, and `onGap` is called with "invalid".
   *
   * @defaultValue data is not checked
   */
  readonly events?: EventDefinitions<Schemas> | undefined;
  /**
   * The id after which the stream starts, for example from the page that the server rendered. `null`, which the server's
   * `lastEventId()` returns for channels without history, is the same as no id.
   *
   * @defaultValue the stream starts with new events
   */
  readonly lastEventId?: string | null | undefined;
  /**
   * Where the id of the last event is kept. With "session", it is in `sessionStorage`, so that the stream resumes after a reload.
   * If there is a stored id, `lastEventId` is ignored. "session" needs a URL that is not a function.
   *
   * @defaultValue "memory"
   */
  readonly keepId?: "memory" | "session" | undefined;
  /**
   * Milliseconds after which a hidden page pauses its stream. When a person sees the page, it catches up.
   *
   * @defaultValue never
   */
  readonly pauseHiddenAfterMs?: number | undefined;
  /**
   * The longest wait between two tries during a long outage, in milliseconds. In the first minute it is 2.5 s. The server can ask
   * for a longer wait with `retry:` or `Retry-After`.
   *
   * @defaultValue 30_000
   */
  readonly maxRetryMs?: number | undefined;
  /**
   * Closes the stream.
   *
   * @defaultValue none
   */
  readonly signal?: AbortSignal | undefined;
}

const NAMES: readonly string[] = [
  "credentials",
  "events",
  "fetch",
  "headers",
  "keepId",
  "lastEventId",
  "maxRetryMs",
  "pauseHiddenAfterMs",
  "signal",
  "token",
] satisfies (keyof ConnectOptions)[];

/** Throws a `TypeError` if an option is unknown or invalid. `createFetchSource()` checks the values of its own options. */
export function checkOptions(options: ConnectOptions, sourceName: string): void {
  for (const name of Object.keys(options)) check(NAMES.includes(name), `unknown option "${name}"`);
  const { events, keepId = "memory", maxRetryMs = 0, pauseHiddenAfterMs = 0 } = options;
  const lastEventId = options.lastEventId ?? "";
  for (const [name, value] of Object.entries({ maxRetryMs, pauseHiddenAfterMs }))
    check(typeof value === "number" && value >= 0, `${name} must be a number of milliseconds, at least 0`);
  check(
    typeof lastEventId === "string" && !/[\0\r\n]/.test(lastEventId),
    "lastEventId must be a string without line breaks",
  );
  check(keepId === "memory" || keepId === "session", 'keepId must be "memory" or "session"');
  check(keepId === "memory" || sourceName !== "", 'keepId "session" needs a URL that is not a function');
  check(events === undefined || typeof events.schemas === "object", "events must come from defineEvents()");
}

function check(isValid: boolean, message: string): void {
  if (!isValid) throw new TypeError(`connect(): ${message}.`);
}
