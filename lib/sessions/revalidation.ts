import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { assertOptions, optionError, readMilliseconds } from "../validate.js";

/** Checks the right to an open stream at regular intervals. */
export interface RevalidationOptions<Session> {
  /**
   * Milliseconds between two checks of one stream.
   *
   * Each interval is up to a tenth shorter or longer, at random. The first check comes at a random time within the first interval,
   * so that streams that opened together are not checked together.
   */
  readonly everyMs: number;
  /**
   * Returns whether the client may still read the stream. It can return a promise. If the result is falsy, the server closes the
   * stream with reason `revoked`. A stream has at most one running check.
   */
  readonly check: (session: Session) => unknown;
  /**
   * What happens if `check` throws, rejects or does not answer within `limits.resolverTimeoutMs`. `"keep"`: the stream
   * continues until the next check. `"end"`: the stream closes with reason `revoked`. Both write a warning to the `logger`, at
   * most once a minute.
   *
   * @defaultValue "keep"
   */
  readonly onError?: "keep" | "end" | undefined;
}

const NAMES: ReadonlySet<string> = new Set<keyof RevalidationOptions<unknown>>([
  "everyMs",
  "check",
  "onError",
]);

/** Throws `ConfigError` if an option is invalid. */
export function assertRevalidation(options: unknown): void {
  assertOptions("revalidate", options, NAMES);
  const { everyMs, check, onError } = options as { readonly [Name in string]?: unknown };
  readMilliseconds("revalidate.everyMs", everyMs);
  if (typeof check !== "function") throw optionError("revalidate.check as a function", check);
  if (onError !== undefined && onError !== "keep" && onError !== "end") {
    throw optionError('revalidate.onError as "keep" or "end"', onError);
  }
}

export interface RevalidationContext {
  readonly clock: Clock;
  /** How long a check may take. */
  readonly timeoutMs: number;
  /** Called if a check throws, rejects or takes too long. */
  readonly onFailure: (error: unknown) => void;
}

/** Runs the checks of one session. `tick()` starts them, so that sessions need no timers. */
export class Revalidation<Session> {
  readonly #options: RevalidationOptions<Session>;
  readonly #context: RevalidationContext;
  /** As `monotonicNow()`. */
  #dueAt: number;
  /** Ends the wait for the running check. */
  #running: AbortController | null = null;

  constructor(options: RevalidationOptions<Session>, context: RevalidationContext, now: number) {
    this.#options = options;
    this.#context = context;
    this.#dueAt = now + options.everyMs * Math.random();
  }

  /** Starts a check if it is due and no check is running. Calls `onRevoked` if the client has lost its right. */
  tick(now: number, session: Session, onRevoked: () => void): void {
    if (this.#running !== null || now < this.#dueAt) return;
    const running = (this.#running = new AbortController());
    this.#dueAt = now + this.#options.everyMs * (0.9 + 0.2 * Math.random());
    void this.#isAllowed(session, running.signal).then((isAllowed) => {
      this.#running = null;
      if (!isAllowed) onRevoked();
    });
  }

  /** Ends the wait for a running check. Its result is ignored. */
  stop(): void {
    this.#running?.abort();
  }

  /** Never rejects. */
  async #isAllowed(session: Session, signal: AbortSignal): Promise<boolean> {
    const { check, onError } = this.#options;
    const { clock, timeoutMs, onFailure } = this.#context;
    try {
      const checking = (async () => check(session))();
      return Boolean(await withDeadline(checking, { clock, timeoutMs, what: "revalidate.check()", signal }));
    } catch (error) {
      if (signal.aborted) return true;
      onFailure(error);
      return onError !== "end";
    }
  }
}
