/**
 * Work that usually needs no wait. A promise for each step of each stream would cost more than most of the steps, so these
 * functions create promises only if they get one.
 */

/** A value, or a promise of it. `undefined` as an `Awaitable<void>` is work that is done. */
export type Awaitable<T> = T | Promise<T>;

/** Calls `then` with the value, at once if it is not a promise. */
export function when<T, R>(value: Awaitable<T>, then: (value: T) => Awaitable<R>): Awaitable<R> {
  return value instanceof Promise ? value.then(then) : then(value);
}

/** Calls `then` with all values, at once if none of them is a promise. */
export function whenAll<T, R>(
  values: readonly Awaitable<T>[],
  then: (values: readonly T[]) => Awaitable<R>,
): Awaitable<R> {
  const isReady = values.every((value) => !(value instanceof Promise));
  return isReady ? then(values as readonly T[]) : Promise.all(values).then(then);
}
