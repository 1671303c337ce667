import type { Cluster, Redis } from "ioredis";

import { parseEntryId } from "../../lib/entry-id.js";
import { historyKeys } from "../../lib/history/history-keys.js";
import type { Findings } from "./findings.js";
import type { Ledger } from "./ledger.js";
import { NO_LOSSES, type Losses } from "./losses.js";
import { codeOf, decodePayload, nameOf } from "./payload.js";

const PAGE = 5_000;

export interface LogPlaces {
  /** Event by position. */
  readonly places: Map<number, number>;
  /** Stamps of these events. */
  readonly stamps: Map<number, number>;
}

/** Reads a channel's history directly from Redis. */
export async function readPlaces(admin: Redis | Cluster, channel: string): Promise<LogPlaces> {
  const { log } = historyKeys("sse:", channel);
  const places = new Map<number, number>();
  const stamps = new Map<number, number>();
  for (let from = "-"; ;) {
    const entries = (await admin.xrange(log, from, "+", "COUNT", PAGE)) as [string, string[]][];
    for (const [id, fields] of entries) {
      const payload = decodePayload(fields[fields.indexOf("d") + 1]!);
      const place = parseEntryId(id);
      if (payload === null || place === null) continue;
      places.set(place.offset, codeOf(payload));
      stamps.set(place.offset, place.stamp);
    }
    if (entries.length < PAGE) return { places, stamps };
    from = `(${entries.at(-1)![0]}`;
  }
}

/**
 * Compares the whole history with the acknowledged events. Each of them must be in its position, and none may be
 * there twice. Events acknowledged just before a failover can be lost. Returns the number of lost events.
 */
export function checkLog(
  channel: string,
  places: ReadonlyMap<number, number>,
  ledger: Ledger,
  findings: Findings,
  losses: Losses = NO_LOSSES,
): number {
  let lost = 0;
  const placeOf = new Map<number, number>();
  for (const [offset, code] of places) {
    const other = placeOf.get(code);
    if (other !== undefined) {
      findings.add("the log has nothing twice", `${channel}: ${nameOf(code)} at ${other} and ${offset}`);
    }
    placeOf.set(code, offset);
  }
  for (const publisher of ledger.publishers(channel)) {
    for (const [number, { offset, issuedAt, settledAt }] of ledger.numbers(channel, publisher)) {
      const code = codeOf({ publisher, number });
      const found = placeOf.get(code);
      if (found !== undefined && (offset === null || offset === found)) continue;
      if (found === undefined && losses.possible && losses.mayHaveMet(issuedAt, settledAt)) {
        lost++;
        continue;
      }
      findings.add(
        "what is acknowledged is in the log",
        `${channel}: ${nameOf(code)}, said to be at ${offset}, is at ${found ?? "no place"}`,
      );
    }
  }
  return lost;
}
