import { ConfigError, RedisSseError } from "../errors.js";
import { isThenable } from "../validate.js";

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
