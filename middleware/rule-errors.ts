import createDebug from "debug";
import type { Request } from "express";

import type { OnRuleError, RuleFailure } from "../lib/adapter.js";
import type { RuleName } from "../lib/index.js";
import { quote } from "./quote.js";

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

/** For so long nothing more is told of a rule: it may fail for each event and each stream. */
const PERIOD_MS = 1_000;

/** Tells of the failures at one mount, each rule's at most once a second. */
export class RuleErrors {
  readonly #onError: OnStreamError;
  readonly #now: () => number;
  readonly #told = new Map<RuleName, { at: number; omitted: number }>();

  constructor(onError: OnStreamError = printRuleError, now: () => number = () => performance.now()) {
    this.#onError = onError;
    this.#now = now;
  }

  /** What one stream tells its failures to. */
  of(req: Request): OnRuleError {
    return (error, failure) => this.#tell(error, failure, req);
  }

  /** Never rejects. */
  async #call(error: unknown, context: RuleErrorContext): Promise<void> {
    try {
      await this.#onError(error, context);
    } catch {
      log("onError() failed");
    }
  }

  #tell(error: unknown, failure: RuleFailure, req: Request): void {
    const now = this.#now();
    const last = this.#told.get(failure.rule);
    if (last !== undefined && now - last.at < PERIOD_MS) {
      last.omitted++;
      return;
    }
    this.#told.set(failure.rule, { at: now, omitted: 0 });
    void this.#call(error, { ...failure, req, omitted: last?.omitted ?? 0 });
  }
}

function printRuleError(
  error: unknown,
  { rule, channel, event = "message", omitted }: RuleErrorContext,
): void {
  const more = omitted === 0 ? "" : ` (and ${omitted} more since the last that was told)`;
  console.error(`redis-sse: ${rule}() failed on ${quote(channel)}, event ${quote(event)}${more}:`, error);
}
