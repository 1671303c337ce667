import createDebug from "debug";
import type { Request } from "express";

import type { OnRuleError, RuleFailure } from "../lib/adapter.js";
import type { RedisSse, RuleName } from "../lib/index.js";

/** The second argument of `onError`: the rule that failed, its event and its request. */
export interface RuleErrorContext extends RuleFailure {
  /** The request of the stream. */
  readonly req: Request;
  /** Number of failures of this rule at this mount that were not reported since the last report. */
  readonly omitted: number;
}

/** The option `onError` of a mount. */
export type OnStreamError = (error: unknown, context: RuleErrorContext) => void | Promise<void>;

const log = createDebug("redis-sse:http");

/** Minimum time between two reports of one rule. A rule can fail for each event of each stream. */
const PERIOD_MS = 1_000;

/** Reports failed rules of one mount, at most once a second for each rule. */
export class RuleErrors {
  readonly #onError: OnStreamError | undefined;
  readonly #now: () => number;
  readonly #reports = new Map<RuleName, { at: number; omitted: number }>();
  /** For each service, the function of all streams, if `onError` is not set. Then no report needs the request. */
  readonly #shared = new WeakMap<Pick<RedisSse, "log">, OnRuleError>();

  constructor(onError?: OnStreamError, now: () => number = () => performance.now()) {
    this.#onError = onError;
    this.#now = now;
  }

  /** Returns the function that one stream calls if a rule fails. */
  of(req: Request, service: Pick<RedisSse, "log">): OnRuleError {
    const onError = this.#onError;
    if (onError !== undefined) {
      return (error, failure) =>
        this.#report(failure, (omitted) => void this.#call(onError, error, { ...failure, req, omitted }));
    }
    let shared = this.#shared.get(service);
    if (shared === undefined) {
      shared = (error, failure) =>
        this.#report(failure, (omitted) => logFailure(error, failure, omitted, service));
      this.#shared.set(service, shared);
    }
    return shared;
  }

  /** Never rejects. */
  async #call(onError: OnStreamError, error: unknown, context: RuleErrorContext): Promise<void> {
    try {
      await onError(error, context);
    } catch {
      log("onError() failed");
    }
  }

  /** Calls `tell` with the number of omitted reports, unless the last report of the rule is too recent. */
  #report({ rule }: RuleFailure, tell: (omitted: number) => void): void {
    const now = this.#now();
    const last = this.#reports.get(rule);
    if (last !== undefined && now - last.at < PERIOD_MS) {
      last.omitted++;
      return;
    }
    this.#reports.set(rule, { at: now, omitted: 0 });
    tell(last?.omitted ?? 0);
  }
}

function logFailure(
  error: unknown,
  { rule, channel, event = "message" }: RuleFailure,
  omitted: number,
  { log: serviceLog }: Pick<RedisSse, "log">,
): void {
  const more = omitted === 0 ? "" : ` (and ${omitted} more failures since the last message)`;
  serviceLog.error(error, `%s() failed on channel %s, event %s${more}`, rule, channel, event);
}
