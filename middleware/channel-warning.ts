import { printable } from "../lib/index.js";

/** The text of a missing value or an object, as a whole segment of a channel name. */
const MISSING = /(?:^|[:/.|#{}])(?:undefined|null|NaN|\[object Object\])(?:$|[:/.|#{}])/;

/** Longer names are invalid anyway. */
const MAX_LENGTH = 512;

/** Warns once per mount of a channel name that a missing value is part of: all such clients would share the channel. */
export class ChannelWarning {
  #warned = false;

  /** Looks at the answer of a resolver, of whatever type it is. */
  look(selection: unknown): void {
    if (this.#warned) return;
    const names: readonly unknown[] = Array.isArray(selection) ? selection : [selection];
    const name = names.find(isSuspect);
    if (name === undefined) return;
    this.#warned = true;
    console.warn(
      "redis-sse: the channel %s was opened, so a value is probably missing in its name. All clients without that " +
        "value share the channel. Check the template string in the resolver. A nested express.Router() needs " +
        "{ mergeParams: true } to see the parameters of its parent. This mount prints the warning once.",
      printable(name),
    );
  }
}

function isSuspect(name: unknown): name is string {
  return typeof name === "string" && name.length <= MAX_LENGTH && MISSING.test(name);
}
