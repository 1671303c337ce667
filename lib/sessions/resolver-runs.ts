import type { Awaitable } from "../awaitable.js";
import type { Clock } from "../clock.js";
import { RedisSseError } from "../errors.js";
import { createLog } from "../log.js";
import { debugTextOf, isRedisSseError } from "../thrown.js";
import { isThenable } from "../validate.js";
import type { Sink } from "./sink.js";

const log = createLog("service");

/** The value of a resolver, or the error that ended the wait for it. */
export type ResolverOutcome<T> =
  { readonly value: T; readonly fault?: never } | { readonly value?: never; readonly fault: RedisSseError };

/**
 * Runs the resolvers of applications. The wait for a resolver ends when it finishes, at the deadline, when the client
 * leaves, or when the service stops. A later result is ignored.
 */
export class ResolverRuns {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** For each wait, the function that ends it. */
  readonly #waits = new Set<(fault: RedisSseError) => void>();
  #stopped = false;

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** Ends all waits. Later calls of `run()` do not wait. */
  stop(): void {
    this.#stopped = true;
    for (const end of this.#waits) end(shuttingDown());
  }

  /** Throws or rejects only with the resolver's own error. Waits only if the resolver returns a promise. */
  run<T>(resolver: () => T | PromiseLike<T>, sink: Sink): Awaitable<ResolverOutcome<T>> {
    if (this.#stopped) return { fault: shuttingDown() };
    if (sink.closed) return { fault: gone() };
    const answer = resolver();
    return isThenable(answer) ? this.#waitFor(answer, sink) : { value: answer };
  }

  #waitFor<T>(answer: PromiseLike<T>, sink: Sink): Promise<ResolverOutcome<T>> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      let detach: (() => void) | null = null;
      /** Returns whether the wait was still open. */
      const finish = (): boolean => {
        if (isOver) return false;
        isOver = true;
        cancelTimer();
        detach?.();
        this.#waits.delete(end);
        return true;
      };
      const end = (fault: RedisSseError): void => {
        if (finish()) resolve({ fault });
      };
      const cancelTimer = this.#clock.schedule(() => {
        log("the resolver or key() of a mount did not finish within %d ms", this.#timeoutMs);
        end(
          new RedisSseError(
            "RESOLVER_TIMEOUT",
            `The server's resolver or key() did not finish within ${this.#timeoutMs} ms.`,
          ),
        );
      }, this.#timeoutMs);
      this.#waits.add(end);
      detach = sink.attach({ onDrain: () => {}, onClose: () => end(gone()) });
      if (isOver) return detach();
      Promise.resolve(answer).then(
        (value) => {
          if (finish()) resolve({ value });
        },
        (error: unknown) => {
          if (finish()) reject(error);
          else log("a resolver failed after the wait for it ended: %s", debugTextOf(error));
        },
      );
    });
  }
}

/**
 * Returns an error of a resolver that is the answer to the client. A resolver that asks Redis fails while Redis is unavailable.
 * After the 500 of an error handler, a browser would not reconnect. So the client gets a retryable error. An invalid ticket is
 * no mistake of the application either. Throws all other errors.
 */
export function answeredFault(error: unknown): RedisSseError {
  if (isRedisSseError(error) && (error.retryable || error.code === "TICKET_INVALID")) return error;
  throw error;
}

export const shuttingDown = (): RedisSseError => new RedisSseError("CLOSED", "this server is shutting down");

const gone = (): RedisSseError =>
  new RedisSseError("ABORTED", "the client left before the resolver finished");
