import { isTiny } from "./channels.js";
import type { Ledger } from "./ledger.js";
import { nameOf, numberOf, publisherOf } from "./payload.js";
import { GAP, type Trail } from "./trail.js";

/** What a client's trail is held against. */
export interface Evidence {
  readonly ledger: Ledger;
  /** Which event is at which place of the log, of all places that are known. */
  readonly places: ReadonlyMap<number, number>;
  readonly marker: Marker;
}

/** The last event of a channel, which is published when everything is over. */
export interface Marker {
  readonly code: number;
  readonly offset: number;
}

/** Whether a client has had its chance of everything: the marker, or a gap that hides it as well. */
export function isComplete(channel: string, { codes, offsets }: Trail, { code, offset }: Marker): boolean {
  const last = codes.at(-1);
  return last === code || (isTiny(channel) && last === GAP && offsets.at(-1)! >= offset);
}

export interface Finding {
  readonly rule: string;
  readonly what: string;
  /** Where in the trail. */
  readonly index: number;
}

/** What is wrong with what a client has received of a channel, the first of each kind of proof. */
export function judge(channel: string, trail: Trail, evidence: Evidence): readonly Finding[] {
  return [judgeNumbers(channel, trail, evidence), judgePlaces(channel, trail, evidence)].filter(
    (finding) => finding !== null,
  );
}

/** By the publishers' own numbers, and by nothing that the library says. */
function judgeNumbers(channel: string, trail: Trail, { ledger, marker }: Evidence): Finding | null {
  const reached = new Map<number, { readonly number: number; readonly gaps: number }>();
  let gaps = 0;
  for (const [index, code] of trail.codes.entries()) {
    if (code === GAP) {
      gaps++;
      continue;
    }
    const publisher = publisherOf(code);
    const number = numberOf(code);
    const last = reached.get(publisher);
    if (last !== undefined && number <= last.number) {
      const rule = number === last.number ? "nothing comes twice" : "nothing comes out of order";
      return { rule, what: `${nameOf(code)} after ${publisher}#${last.number}`, index };
    }
    const isTold = gaps > (last?.gaps ?? 0);
    const missing = isTold ? null : firstMissing(ledger, channel, publisher, trail, last?.number, number);
    if (missing !== null) {
      return { rule: "nothing is missing", what: `p${publisher}#${missing} before ${nameOf(code)}`, index };
    }
    reached.set(publisher, { number, gaps });
  }
  const end = trail.length;
  if (!isComplete(channel, trail, marker)) {
    return { rule: "the marker is the last", what: `it ends with ${lastOf(trail)}`, index: end };
  }
  for (const publisher of ledger.publishers(channel)) {
    const last = reached.get(publisher);
    if (gaps > (last?.gaps ?? 0)) continue;
    const missing = firstMissing(ledger, channel, publisher, trail, last?.number, Infinity);
    if (missing === null) continue;
    return { rule: "nothing is missing", what: `p${publisher}#${missing} before the end`, index: end };
  }
  return null;
}

/** The first acknowledged number between two; without `last`, from the client's beginning on. */
function firstMissing(
  ledger: Ledger,
  channel: string,
  publisher: number,
  { begunAt }: Trail,
  last: number | undefined,
  before: number,
): number | null {
  let first: number | null = null;
  const consider = (number: number, issuedAt: number): void => {
    if (last === undefined && issuedAt < begunAt) return;
    if (number < before && number > (last ?? 0) && number < (first ?? Infinity)) first = number;
  };
  const numbers = ledger.numbers(channel, publisher);
  if (last !== undefined && before !== Infinity) {
    for (let number = last + 1; number < before; number++) {
      const event = numbers.get(number);
      if (event !== undefined) consider(number, event.issuedAt);
    }
  } else {
    for (const [number, { issuedAt }] of numbers) consider(number, issuedAt);
  }
  return first;
}

/** By the places in the log: they follow one another, but for a gap; so uncertain events are judged as well. */
function judgePlaces(channel: string, trail: Trail, { places }: Evidence): Finding | null {
  let last = trail.beginning;
  let isTold = false;
  for (const [index, code] of trail.codes.entries()) {
    if (code === GAP) {
      isTold = true;
      continue;
    }
    const offset = trail.offsets[index]!;
    const isNext = offset === last + 1;
    if (isTold ? offset <= last + 1 : !isNext) {
      const rule = isTold && isNext ? "a gap hides something" : "places follow one another";
      return { rule, what: `${nameOf(code)} at ${offset} after ${last}`, index };
    }
    const known = places.get(offset);
    if (known !== undefined && known !== code) {
      return {
        rule: "what comes is what is in the log",
        what: `${nameOf(code)} for ${nameOf(known)}`,
        index,
      };
    }
    if (known === undefined && !isTiny(channel)) {
      return { rule: "what comes is in the log", what: `${nameOf(code)} at ${offset}`, index };
    }
    last = offset;
    isTold = false;
  }
  return null;
}

function lastOf({ codes }: Trail): string {
  const code = codes.at(-1);
  return code === undefined ? "nothing" : code === GAP ? "a gap" : nameOf(code);
}

/** A part of the trail in words: the connection, the place by its id, the event. */
export function describeTrail({ codes, offsets, connections, beginning }: Trail, around: number): string {
  const from = Math.max(0, around - 6);
  const lines = codes.slice(from, around + 5).map((code, index) => {
    const at = from + index;
    const mark = at === around ? ">" : " ";
    return `${mark} connection ${connections[at]}  place ${offsets[at]}  ${code === GAP ? "gap" : nameOf(code)}`;
  });
  return [`  begins after place ${beginning}; from event ${from} of ${codes.length}:`, ...lines].join(
    "\n    ",
  );
}
