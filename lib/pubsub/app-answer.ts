import { ConfigError, RedisSseError } from "../errors.js";

/**
 * What an application's function answered, which has to be at once. A promise is true whatever it comes to, and a
 * filter would let everything through: it is refused, and whether it rejects is nobody's to see.
 */
export function atOnce<Answer>(name: string, answer: Answer): Answer {
  if (!isThenable(answer)) return answer;
  Promise.resolve(answer).catch(() => {});
  throw new ConfigError(`expected ${name}() to answer at once, got a promise`);
}

function isThenable(value: unknown): boolean {
  return (
    typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function"
  );
}

/** What was thrown, as a log may say it: the message of a foreign error may hold anything. */
export function describeThrown(error: unknown): string {
  if (error instanceof RedisSseError) return error.message;
  return error instanceof Error ? error.name : typeof error;
}
