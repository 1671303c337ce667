import type { Evidence, Finding } from "./judge.js";
import { nameOf, numberOf, publisherOf } from "./payload.js";
import { GAP, type Trail } from "./trail.js";

/**
 * An event must be published this long before the end of a connection to count as missing, because a connection can
 * be held.
 */
const UNDER_WAY_MS = 10_000;

/**
 * The rules of a channel without history. Each event published while a stream is open must arrive, or a gap must
 * report a loss. Events published between two connections are lost. An event whose answer was lost can arrive twice,
 * unless its publisher never retries.
 */
export function judgeLive(trail: Trail, evidence: Evidence): Finding | null {
  return judgeOrder(trail, evidence) ?? judgeSpans(trail, evidence);
}

function judgeOrder({ codes, connections }: Trail, { channel, ledger, losses }: Evidence): Finding | null {
  /** Events with their connection. */
  const had = new Map<number, number>();
  const reached = new Map<number, number>();
  for (const [index, code] of codes.entries()) {
    // Another process uses another node, which can get an event later.
    if (losses.possible && connections[index] !== connections[index - 1]) reached.clear();
    if (code === GAP) continue;
    const before = had.get(code);
    had.set(code, connections[index]!);
    if (before === connections[index] && ledger.sendsOnce(publisherOf(code))) {
      return { rule: "nothing comes twice", what: nameOf(code), index };
    }
    if (before !== undefined) continue;
    // A frozen node can publish an event late, after its publisher got an error.
    const own = ledger.numbers(channel, publisherOf(code)).get(numberOf(code));
    if (losses.possible && own === undefined) continue;
    const last = reached.get(publisherOf(code));
    if (last !== undefined && last > code) {
      // A replaced node acknowledged the event. It forwarded the event after the next event of the new node.
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
  /** Earlier gaps of this connection. */
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
        // Between two nodes, or acknowledged by a replaced node. In both cases the event can be lost without a trace.
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
