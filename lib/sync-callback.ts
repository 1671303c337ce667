import { ConfigError, RedisSseError } from "./errors.js";
import { createLog, printable } from "./log.js";
import { isThenable } from "./validate.js";

const log = createLog("session");

/**
 * What an application's function answered, which has to be at once. A promise is true whatever it comes to, and a
 * filter would let everything through: it is refused, and whether it rejects is nobody's to see.
 */
export function atOnce<Answer>(name: string, answer: Answer): Answer {
  if (!isThenable(answer)) return answer;
  Promise.resolve(answer).catch(() => {});
  throw new ConfigError(`expected ${name}() to answer at once, got a promise`);
}

/** Throws `ConfigError` for a function that can only answer a promise, or an iterator. */
export function assertAtOnce(name: string, rule: unknown): void {
  const kind = Object.prototype.toString.call(rule).slice("[object ".length, -1);
  if (!/^(Async|Generator|AsyncGenerator)Function$/.test(kind)) return;
  throw new ConfigError(
    `expected ${name} as a function that answers at once, since it is asked for each event and each stream; got one of kind ${kind}`,
  );
}

/** What was thrown, as a log may say it: the message of a foreign error may hold anything. */
export function describeThrown(error: unknown): string {
  if (error instanceof RedisSseError) return error.message;
  try {
    return error instanceof Error ? error.name : typeof error;
  } catch {
    return "an error that throws when it is looked at";
  }
}

/** What an application may say of the events of a stream. */
export type RuleName = "filter" | "transform" | "until" | "latestBy";

/** For what event a rule threw, or gave an answer that is none: never its data. */
export interface RuleFailure {
  /** The rule that failed. */
  readonly rule: RuleName;
  /** The event's channel; empty for what `session.send()` sent. */
  readonly channel: string;
  /** The event's type; `undefined` is what a client dispatches as `message`. */
  readonly event: string | undefined;
}

/** Called with the error of a rule, and with the event for which the rule failed. */
export type OnRuleError = (error: unknown, failure: RuleFailure) => void;

/** Tells the log and the application that a rule of a stream failed. Never throws. */
export function tellFailure(
  rule: RuleName,
  error: unknown,
  { channel, event }: Omit<RuleFailure, "rule">,
  onError: OnRuleError | undefined,
): void {
  log("%s() failed on %s: %s", rule, printable(channel), describeThrown(error));
  try {
    onError?.(error, { rule, channel, event });
  } catch (fault) {
    log("onError() threw: %s", describeThrown(fault));
  }
}
