import type { RedisSse } from "../lib/index.js";

/** The text of a missing value or an object, as a whole segment of a channel name. */
const MISSING = /(?:^|[:/.|#{}])(?:undefined|null|NaN|\[object Object\])(?:$|[:/.|#{}])/;

/** Longer names are invalid anyway. */
const MAX_LENGTH = 512;

/**
 * Warns once per mount if a value is missing in a channel name: all clients without the value would share the
 * channel.
 */
export class ChannelWarning {
  #warned = false;

  /** Checks the answer of a resolver, which can have any type. */
  look(answer: unknown, { log }: Pick<RedisSse, "log">): void {
    if (this.#warned) return;
    const name = namesOf(answer).find(isSuspect);
    if (name === undefined) return;
    this.#warned = true;
    log.warn(
      'a value is probably missing in the channel name "%s". All clients without that value share the ' +
        "channel. Check the template string in the resolver. A nested express.Router() needs " +
        "{ mergeParams: true } to see the parameters of its parent. This mount prints the warning once.",
      name,
    );
  }
}

function namesOf(answer: unknown): readonly unknown[] {
  const isAccess = typeof answer === "object" && answer !== null && "channels" in answer;
  const selection = isAccess ? answer.channels : answer;
  return Array.isArray(selection) ? selection : [selection];
}

function isSuspect(name: unknown): name is string {
  return typeof name === "string" && name.length <= MAX_LENGTH && MISSING.test(name);
}
