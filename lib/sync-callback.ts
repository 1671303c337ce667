import { ConfigError } from "./errors.js";
import { createLog, printable } from "./log.js";
import { debugTextOf } from "./thrown.js";
import { isThenable } from "./validate.js";

const log = createLog("session");

/**
 * Returns the answer of an application's function. Throws `ConfigError` if the answer is a promise: a promise is truthy, so a
 * filter would let every event through. A rejection of the promise is ignored.
 */
export function atOnce<Answer>(name: string, answer: Answer): Answer {
  if (!isThenable(answer)) return answer;
  Promise.resolve(answer).catch(() => {});
  throw new ConfigError(`expected ${name}() to be synchronous, but it returned a promise`);
}

/** Throws `ConfigError` for an async function or a generator function. */
export function assertAtOnce(name: string, rule: unknown): void {
  const kind = Object.prototype.toString.call(rule).slice("[object ".length, -1);
  if (!/^(Async|Generator|AsyncGenerator)Function$/.test(kind)) return;
  throw new ConfigError(
    `expected ${name} as a synchronous function, because it runs for each event of each stream; got one of kind ${kind}`,
  );
}

/** The functions with which an application changes the events of a stream. */
export type RuleName = "filter" | "transform" | "until" | "latestBy";

/** The event for which a rule threw or returned an invalid value, without the data. */
export interface RuleFailure {
  /** The rule that failed. */
  readonly rule: RuleName;
  /** The channel of the event. Empty for an event of `session.send()`. */
  readonly channel: string;
  /** The type of the event. A client gets `undefined` as `message`. */
  readonly event: string | undefined;
}

/** Gets the error of a rule, and the event for which the rule failed. */
export type OnRuleError = (error: unknown, failure: RuleFailure) => void;

/** Reports to the log and to the application that a rule of a stream failed. Never throws. */
export function tellFailure(
  rule: RuleName,
  error: unknown,
  { channel, event }: Omit<RuleFailure, "rule">,
  onError: OnRuleError | undefined,
): void {
  log("%s() failed on %s: %s", rule, printable(channel), debugTextOf(error));
  try {
    onError?.(error, { rule, channel, event });
  } catch (fault) {
    log("onError() threw: %s", debugTextOf(fault));
  }
}
