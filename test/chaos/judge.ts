import { haveOtherStamps } from "../../lib/sse/event-id.js";
import { isLive, isTiny, keepsEverything } from "./channels.js";
import type { Ledger } from "./ledger.js";
import { judgeLive } from "./live-judge.js";
import type { Losses } from "./losses.js";
import { codeOf, nameOf, numberOf, publisherOf } from "./payload.js";
import { GAP, type Trail } from "./trail.js";

/** The evidence to compare with a client's trail. */
export interface Evidence {
  readonly channel: string;
  readonly ledger: Ledger;
  /** Event by position in the history, for all known positions. */
  readonly places: ReadonlyMap<number, number>;
  /** Stamp of the event by position. */
  readonly stamps: ReadonlyMap<number, number>;
  /** `null` if the client was not connected, so that it may lack the last events. */
  readonly marker: Marker | null;
  readonly losses: Losses;
  /** Positions of lost events. `null` if any position may be lost, because an uncertain event was lost. */
  readonly lostPlaces: ReadonlySet<number> | null;
}

/** An event on each channel after all other events. Published at the end, or between rounds of faults. */
export interface Marker {
  readonly code: number;
  /** 0 on a channel without history. */
  readonly offset: number;
  readonly issuedAt: number;
}

/** Markers by channel. */
export type Markers = Map<string, Marker>;

/** Whether a client has received the marker, or a gap that covers it. */
export function isComplete(
  channel: string,
  { codes, offsets, gapAt, spans }: Trail,
  { code, offset, issuedAt }: Marker,
  { possible }: Losses,
): boolean {
  if (codes.lastIndexOf(code) >= 0) return true;
  // It was published while the client was disconnected, and the channel has no history.
  if (isLive(channel)) return Math.max(gapAt, [...spans.values()].at(-1)?.from ?? 0) >= issuedAt;
  return (isTiny(channel) || possible) && (offsets[codes.lastIndexOf(GAP)] ?? -1) >= offset;
}

export interface Finding {
  readonly rule: string;
  readonly what: string;
  /** Index in the trail. */
  readonly index: number;
}

/** Returns the first violation of each kind in the received events of a channel. */
export function judge(trail: Trail, evidence: Evidence): readonly Finding[] {
  const found = isLive(evidence.channel)
    ? [judgeLive(trail, evidence)]
    : [judgeNumbers(trail, evidence), judgePlaces(trail, evidence)];
  return found.filter((finding) => finding !== null);
}

/** Checks only the publishers' own numbers, independent of the library. */
function judgeNumbers(trail: Trail, evidence: Evidence): Finding | null {
  const { channel, ledger, marker, losses } = evidence;
  const reached = new Map<number, Reached>();
  let gaps = 0;
  for (const [index, code] of trail.codes.entries()) {
    if (code === GAP) {
      gaps++;
      continue;
    }
    const publisher = publisherOf(code);
    const number = numberOf(code);
    const last = reached.get(publisher);
    // The event was published again after a lost answer, to a server that had lost it. Or it was read from a replaced
    // server.
    const isAgain =
      last !== undefined &&
      gaps > last.gaps &&
      (isLost(last.index, trail, evidence) || isLost(index, trail, evidence));
    if (last !== undefined && number <= last.number && !isAgain) {
      const rule = number === last.number ? "nothing comes twice" : "nothing comes out of order";
      return { rule, what: `${nameOf(code)} after ${publisher}#${last.number}`, index };
    }
    const isTold = gaps > (last?.gaps ?? 0);
    const missing = isTold ? null : firstMissing(ledger, channel, publisher, trail, last?.number, number);
    if (missing !== null) {
      const rule = ruleOfMissing(evidence, publisher, missing);
      return { rule, what: `p${publisher}#${missing} before ${nameOf(code)}`, index };
    }
    reached.set(publisher, { number, gaps, index });
  }
  const end = trail.length;
  if (marker === null) return null;
  if (!isComplete(channel, trail, marker, losses)) {
    return { rule: "the marker comes", what: `it ends with ${lastOf(trail)}`, index: end };
  }
  for (const publisher of ledger.publishers(channel)) {
    const last = reached.get(publisher);
    if (gaps > (last?.gaps ?? 0)) continue;
    const missing = firstMissing(ledger, channel, publisher, trail, last?.number, Infinity);
    if (missing === null) continue;
    // The publisher reports a loss with its next event, and has published none yet.
    if (isLostEvent(evidence, publisher, missing)) continue;
    return { rule: "nothing is missing", what: `p${publisher}#${missing} before the end`, index: end };
  }
  return null;
}

interface Reached {
  readonly number: number;
  readonly gaps: number;
  readonly index: number;
}

/** Distinguishes lost events from events that exist but were not sent. */
function ruleOfMissing(evidence: Evidence, publisher: number, number: number): string {
  const isLost = isLostEvent(evidence, publisher, number);
  return isLost ? "what a failover loses is told by a gap" : "nothing is missing";
}

function isLostEvent(
  { ledger, channel, places, losses }: Evidence,
  publisher: number,
  number: number,
): boolean {
  const { offset } = ledger.numbers(channel, publisher).get(number)!;
  return (
    losses.possible &&
    offset !== null &&
    keepsEverything(channel) &&
    places.get(offset) !== codeOf({ publisher, number })
  );
}

/** Whether a received event is missing in the history. An event published again can be there with another stamp. */
function isLost(
  index: number,
  { codes, offsets, stamps: received }: Trail,
  { channel, places, stamps, marker, losses }: Evidence,
): boolean {
  if (!losses.possible) return false;
  const known = places.get(offsets[index]!);
  const stamp = stamps.get(offsets[index]!);
  if (stamp !== undefined && haveOtherStamps(stamp, received[index])) return true;
  // In a trimmed history, missing first events prove nothing. But nothing may follow the marker.
  if (known === undefined)
    return keepsEverything(channel) || (marker !== null && offsets[index]! > marker.offset);
  return known !== codes[index];
}

/** Returns the first acknowledged number between two numbers. Without `last`, starts at the client's start. */
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

/** Checks the positions in the history. They must be consecutive, except at a gap. This covers uncertain events too. */
function judgePlaces(trail: Trail, evidence: Evidence): Finding | null {
  const { channel, places, losses } = evidence;
  const lostPlaces =
    evidence.lostPlaces && new Set([...evidence.lostPlaces, ...lostPlacesOf(trail, evidence)]);
  let last = trail.beginning;
  let isTold = false;
  let lost: number | null = null;
  let gaps = 0;
  for (const [index, code] of trail.codes.entries()) {
    if (code === GAP) {
      if (losses.possible && keepsEverything(channel) && lostPlaces?.size === 0) {
        return { rule: "a gap tells of a loss", what: `a gap after ${last}, and nothing is lost`, index };
      }
      isTold = true;
      gaps++;
      lost = null;
      continue;
    }
    const offset = trail.offsets[index]!;
    const isNext = offset === last + 1;
    const hidesNothing = losses.possible
      ? isNext && !hasMoreLost(lostPlaces, offset, gaps)
      : offset <= last + 1;
    if (isTold ? hidesNothing : !isNext) {
      const rule = isTold && isNext ? "a gap hides something" : "places follow one another";
      return { rule, what: `${nameOf(code)} at ${offset} after ${last}`, index };
    }
    if (isLost(index, trail, evidence)) {
      lost ??= code;
      last = offset;
      isTold = false;
      continue;
    }
    if (lost !== null) {
      const what = `${nameOf(lost)} is lost, and ${nameOf(code)} follows`;
      return { rule: "what a failover takes back is told by a gap", what, index };
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

/** Positions of lost events that the client has received. */
function lostPlacesOf(trail: Trail, evidence: Evidence): readonly number[] {
  return trail.offsets.filter((_, index) => trail.codes[index] !== GAP && isLost(index, trail, evidence));
}

/**
 * Whether another gap before `offset` can report a loss. The gap comes with the next event of the lost event's
 * publisher. By that time, other events can have the lost position. A client that had received the lost event gets
 * two gaps.
 */
function hasMoreLost(lostPlaces: ReadonlySet<number> | null, offset: number, told: number): boolean {
  return lostPlaces === null || [...lostPlaces].filter((place) => place <= offset).length * 2 >= told;
}

function lastOf({ codes }: Trail): string {
  const code = codes.at(-1);
  return code === undefined ? "nothing" : code === GAP ? "a gap" : nameOf(code);
}

/** Describes a part of the trail: connection, position by id, and event. */
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
