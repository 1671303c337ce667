import { runInNewContext } from "node:vm";

import * as fc from "fast-check";

/** Values that an application can throw. Some of them cannot be read or converted. */

const fail = (): never => {
  throw new Error("not readable");
};

/** A value whose properties and class cannot be read. */
export function unreadable(): object {
  return new Proxy(new Error("no"), {
    get: fail,
    getPrototypeOf: fail,
    getOwnPropertyDescriptor: fail,
    has: fail,
    ownKeys: fail,
  });
}

/** An error whose properties with these names throw. */
function withGetters(error: Error, ...names: readonly string[]): Error {
  // Node builds the stack text on first access, from the properties at that time.
  void error.stack;
  for (const name of names) Object.defineProperty(error, name, { get: fail, configurable: true });
  return error;
}

function withProperties(error: Error, properties: object): Error {
  // As above.
  void error.stack;
  for (const [name, value] of Object.entries(properties)) {
    Object.defineProperty(error, name, { value, configurable: true });
  }
  return error;
}

function withCauses(depth: number): Error {
  return new Error(`level ${depth}`, depth === 0 ? {} : { cause: withCauses(depth - 1) });
}

function circular(): Error {
  const error = new Error("its own cause");
  error.cause = error;
  return error;
}

/** Created again for each use, because a test can change them. */
export const HOSTILE: Readonly<Record<string, () => unknown>> = {
  "a value of which nothing can be read": unreadable,
  "an error whose message is an object": () => withProperties(new Error(), { message: { secret: 1 } }),
  "an error whose message is a symbol": () => withProperties(new Error(), { message: Symbol("no") }),
  "an error whose name and stack are numbers": () => withProperties(new Error("no"), { name: 5, stack: 7 }),
  "an error whose getters throw": () => withGetters(new Error("no"), "name", "message", "stack", "cause"),
  "an object whose getters throw": () => withGetters({} as Error, "name", "message", "stack", "constructor"),
  "an object without a prototype": () => Object.create(null),
  "a plain object": () => ({ code: 5, text: "no" }),
  "an object that cannot become text": () => ({ toString: fail, [Symbol.toPrimitive]: fail }),
  "an error of another realm": () => runInNewContext("new TypeError('from elsewhere')"),
  "an object of another realm": () => runInNewContext("({ get message() { throw 1 } })"),
  "a revoked proxy": () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  "a rejected promise": () => Promise.reject(new Error("nobody waits for it")),
  // oxlint-disable-next-line unicorn/no-thenable -- the test needs a thenable
  "a thenable": () => ({ then: fail }),
  "an error that is its own cause": circular,
  "an error with a long chain of causes": () => withCauses(50),
  "an error with a message of a megabyte": () => new Error("é".repeat(1024 * 1024)),
  "a text of a megabyte": () => "😀".repeat(256 * 1024),
  "an error of many lines": () => new Error("\n".repeat(100_000)),
  null: () => null,
  undefined: () => undefined,
  "a symbol": () => Symbol("no"),
  "a function": () => fail,
  NaN: () => NaN,
  "a bigint": () => 10n ** 400n,
};

/** Any value that can be thrown. Created at the time of use, so that no rejected promise exists before. */
export const anyThrown: fc.Arbitrary<() => unknown> = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(...Object.values(HOSTILE)) },
  {
    weight: 1,
    arbitrary: fc
      .anything({ withBigInt: true, withDate: true, withNullPrototype: true })
      .map((value) => () => value),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ message: fc.anything(), name: fc.anything(), stack: fc.anything(), cause: fc.anything() })
      .map((properties) => () => withProperties(new Error(), properties)),
  },
);
