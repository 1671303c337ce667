import createDebug from "debug";
import type { Request } from "express";

import type { OnRuleError, RuleFailure } from "../lib/adapter.js";
import type { RedisSse, RuleName } from "../lib/index.js";

/** What failed, and for whom. */
export interface RuleErrorContext extends RuleFailure {
  /** The request of the stream. */
  readonly req: Request;
  /** How many failures of this rule at this mount were not told since the last that was. */
  readonly omitted: number;
}

/** The option `onError` of a mount. */
export type OnStreamError = (error: unknown, context: RuleErrorContext) => void | Promise<void>;

const log = createDebug("redis-sse:http");

/** A rule may fail for each event of each stream: it is reported again after this time. */
const PERIOD_MS = 1_000;

/** Reports the failures at one mount, at most once a second for each rule. */
export class RuleErrors {
  readonly #onError: OnStreamError | undefined;
  readonly #now: () => number;
  readonly #told = new Map<RuleName, { at: number; omitted: number }>();

  constructor(onError?: OnStreamError, now: () => number = () => performance.now()) {
    this.#onError = onError;
    this.#now = now;
  }

  /** What one stream tells its failures to. */
  of(req: Request, service: Pick<RedisSse, "log">): OnRuleError {
    return (error, failure) => this.#tell(error, failure, req, service);
  }

  /** Never rejects. */
  async #call(onError: OnStreamError, error: unknown, context: RuleErrorContext): Promise<void> {
    try {
      await onError(error, context);
    } catch {
      log("onError() failed");
    }
  }

  #tell(
    error: unknown,
    failure: RuleFailure,
    req: Request,
    { log: serviceLog }: Pick<RedisSse, "log">,
  ): void {
    const now = this.#now();
    const last = this.#told.get(failure.rule);
    if (last !== undefined && now - last.at < PERIOD_MS) {
      last.omitted++;
      return;
    }
    this.#told.set(failure.rule, { at: now, omitted: 0 });
    const omitted = last?.omitted ?? 0;
    if (this.#onError !== undefined)
      return void this.#call(this.#onError, error, { ...failure, req, omitted });
    const { rule, channel, event = "message" } = failure;
    const more = omitted === 0 ? "" : ` (and ${omitted} more times since the last message)`;
    serviceLog.error(error, `%s() failed on channel %s, event %s${more}`, rule, channel, event);
  }
}
