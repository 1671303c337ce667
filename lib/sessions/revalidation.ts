import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { createLog } from "../log.js";
import { describeThrown } from "../sync-callback.js";
import { assertOptions, optionError, readMilliseconds } from "../validate.js";

/** Checks the rights of an open stream again from time to time. */
export interface RevalidationOptions<Session> {
  /** Milliseconds between two checks of one stream. A random part of up to a tenth is added or subtracted. */
  readonly everyMs: number;
  /** Returns whether the client may still read the stream. A falsy answer closes the stream with reason `revoked`. */
  readonly check: (session: Session) => unknown;
  /**
   * What happens if `check` throws, rejects or does not answer within `limits.resolverTimeoutMs`. `"keep"`: the stream
   * continues until the next check. `"end"`: the stream closes with reason `revoked`.
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

const log = createLog("session");

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

/** Runs the checks of one session. `tick()` starts them, so that no session needs a timer of its own. */
export class Revalidation<Session> {
  readonly #options: RevalidationOptions<Session>;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  #dueAt: number;
  #isRunning = false;

  /** `now` is `monotonicNow()`. */
  constructor(options: RevalidationOptions<Session>, clock: Clock, timeoutMs: number, now: number) {
    this.#options = options;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#dueAt = now + this.#periodMs();
  }

  /** Starts a check if it is due and no check is running. Calls `onRevoked` if the client has lost its right. */
  tick(now: number, session: Session, onRevoked: () => void): void {
    if (this.#isRunning || now < this.#dueAt) return;
    this.#isRunning = true;
    void this.#check(session).then((isAllowed) => {
      this.#isRunning = false;
      this.#dueAt = now + this.#periodMs();
      if (!isAllowed) onRevoked();
    });
  }

  /** Never rejects. */
  async #check(session: Session): Promise<boolean> {
    const { check, onError } = this.#options;
    try {
      const checking = (async () => check(session))();
      const deadline = { clock: this.#clock, timeoutMs: this.#timeoutMs, what: "revalidate.check()" };
      return Boolean(await withDeadline(checking, deadline));
    } catch (error) {
      log("revalidate.check() failed: %s", describeThrown(error));
      return onError !== "end";
    }
  }

  /** Randomized, so that streams that opened together are not checked together. */
  #periodMs(): number {
    return this.#options.everyMs * (0.9 + 0.2 * Math.random());
  }
}
