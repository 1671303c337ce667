import type { Evidence, Finding } from "./judge.js";
import { nameOf, numberOf, publisherOf } from "./payload.js";
import { GAP, type Trail } from "./trail.js";

/** So long before the end of a connection an event must have been published to be missed: a link may have been held. */
const UNDER_WAY_MS = 10_000;

/**
 * The rules of a channel without history: what was published while a stream was open comes over it, or a gap tells that
 * something is missing. What was published between two connections is lost. An event whose answer was lost may come twice,
 * unless its publisher sends nothing again.
 */
export function judgeLive(trail: Trail, evidence: Evidence): Finding | null {
  return judgeOrder(trail, evidence) ?? judgeSpans(trail, evidence);
}

function judgeOrder({ codes, connections }: Trail, { channel, ledger, losses }: Evidence): Finding | null {
  /** With the connection over which each came. */
  const had = new Map<number, number>();
  const reached = new Map<number, number>();
  for (const [index, code] of codes.entries()) {
    // Another process listens to another node, which may get an event later than the node before.
    if (losses.possible && connections[index] !== connections[index - 1]) reached.clear();
    if (code === GAP) continue;
    const before = had.get(code);
    had.set(code, connections[index]!);
    if (before === connections[index] && ledger.sendsOnce(publisherOf(code))) {
      return { rule: "nothing comes twice", what: nameOf(code), index };
    }
    if (before !== undefined) continue;
    // A node that hangs may publish late what its publisher was told had failed.
    const own = ledger.numbers(channel, publisherOf(code)).get(numberOf(code));
    if (losses.possible && own === undefined) continue;
    const last = reached.get(publisherOf(code));
    if (last !== undefined && last > code) {
      // A node that others have replaced acknowledged it, and passed it on after the next event, which its replacement had.
      if (losses.possible && losses.mayHaveMet(own!.issuedAt, own!.settledAt)) continue;
      const told = (code: number): string => {
        const event = ledger.numbers(channel, publisherOf(code)).get(numberOf(code));
        if (event === undefined) return `${nameOf(code)} (uncertain)`;
        return `${nameOf(code)} (issued at ${event.issuedAt.toFixed(0)}, settled after ${(event.settledAt - event.issuedAt).toFixed(0)} ms)`;
      };
      const what = `${told(code)} after ${told(last)}`;
      return { rule: "nothing comes out of order", what, index };
    }
    reached.set(publisherOf(code), code);
  }
  return null;
}

interface Arrival {
  readonly number: number;
  readonly index: number;
  /** The gaps of this connection before it. */
  readonly gaps: number;
}

function judgeSpans(trail: Trail, { ledger, channel, losses }: Evidence): Finding | null {
  const { codes, connections, spans } = trail;
  for (const [connection, { from, to }] of spans) {
    const arrived = new Map<number, Arrival[]>();
    let gaps = 0;
    let end = codes.length;
    for (let index = connections.indexOf(connection); connections[index] === connection; index++) {
      const code = codes[index]!;
      end = index;
      if (code === GAP) {
        gaps++;
        continue;
      }
      const arrivals = arrived.get(publisherOf(code)) ?? [];
      arrivals.push({ number: numberOf(code), index, gaps });
      arrived.set(publisherOf(code), arrivals);
    }
    for (const publisher of ledger.publishers(channel)) {
      const arrivals = (arrived.get(publisher) ?? []).toSorted((one, other) => one.number - other.number);
      const numbers = new Set(arrivals.map(({ number }) => number));
      const newest = arrivals.at(-1)?.number ?? 0;
      for (const [number, { issuedAt, settledAt }] of ledger.numbers(channel, publisher)) {
        if (issuedAt < from || numbers.has(number)) continue;
        if (number > newest && settledAt > to - UNDER_WAY_MS) continue;
        // Between two nodes, or acknowledged by one that others had replaced: of that nobody can know.
        if (losses.possible && losses.mayBeUnheard(issuedAt, settledAt)) continue;
        const before = arrivals.findLast((arrival) => arrival.number < number);
        const after = arrivals.find((arrival) => arrival.number > number);
        if ((after?.gaps ?? gaps) > (before?.gaps ?? 0)) continue;
        const what = `p${publisher}#${number} on connection ${connection}`;
        return {
          rule: "nothing is missing on an open stream without a gap",
          what,
          index: after?.index ?? end,
        };
      }
    }
  }
  return null;
}
