import { Chance } from "./chance.js";
import type { RunOptions } from "./options.js";

const PLAN_CHANCE = 900_000;

/** Number of each fault in a deck. Every deck has all faults, in random order. */
const SINGLE = {
  "kill-subscribers": 2,
  "kill-commands": 1,
  "cut-redis-links": 2,
  "cut-at-reply": 3,
  "hold-redis-link": 1,
  "cut-streams": 3,
  "forget-scripts": 1,
  "end-app": 1,
  "kill-app": 1,
  "stop-redis": 1,
  "crash-redis": 1,
} as const;

/** Without faults of the connections to Redis, because clients find the servers by themselves. */
const SENTINEL = {
  "kill-subscribers": 1,
  "kill-commands": 1,
  "cut-streams": 2,
  "forget-scripts": 1,
  "end-app": 1,
  "kill-app": 1,
  "stop-redis": 1,
  "crash-redis": 1,
  "fail-over": 1,
} as const;

const CLUSTER: typeof SENTINEL & { readonly "move-slot": number; readonly "cut-bus": number } = {
  ...SENTINEL,
  "move-slot": 2,
  "cut-bus": 2,
};

/** Faults for one app that lives through the run. Its process and its streams are not cut. */
const SOAK = {
  "kill-subscribers": 2,
  "kill-commands": 1,
  "cut-redis-links": 2,
  "cut-at-subscribe": 1,
  "cut-at-reply": 1,
  "hold-redis-link": 1,
  "refuse-links": 1,
  "forget-scripts": 1,
  "stop-redis": 1,
  "crash-redis": 1,
  "pause-redis": 1,
  "limit-clients": 1,
  "deny-channel": 1,
  "limit-output": 1,
  "rotate-password": 1,
  "block-app": 1,
} as const;

export type FaultKind = keyof typeof SINGLE | keyof typeof CLUSTER | keyof typeof SOAK;

interface Pace {
  readonly deck: Partial<Readonly<Record<FaultKind, number>>>;
  /** Average and maximum time between two faults. */
  readonly everyMs: number;
  /** Maximum part of a run that one fault takes. */
  readonly longest: number;
}

/** A failover takes a few seconds. The next failover waits until all servers are healthy. */
const PACES: Readonly<Record<RunOptions["topology"] | "soak", Pace>> = {
  single: { deck: SINGLE, everyMs: 600, longest: 1 / 15 },
  cluster: { deck: CLUSTER, everyMs: 1_500, longest: 1 / 5 },
  sentinel: { deck: SENTINEL, everyMs: 1_500, longest: 1 / 5 },
  soak: { deck: SOAK, everyMs: 800, longest: 1 },
};

/** Duration of each fault in milliseconds. Faults that are not listed take no time. */
const DURATIONS: Partial<Readonly<Record<FaultKind, readonly [least: number, most: number]>>> = {
  "cut-at-subscribe": [1_000, 3_000],
  "hold-redis-link": [100, 7_000],
  "refuse-links": [100, 3_000],
  "end-app": [0, 500],
  "kill-app": [0, 500],
  "stop-redis": [100, 7_000],
  "crash-redis": [20, 2_500],
  "pause-redis": [100, 2_500],
  "limit-clients": [300, 3_000],
  "deny-channel": [200, 3_000],
  "limit-output": [500, 1_500],
  "rotate-password": [200, 3_000],
  "block-app": [500, 2_000],
  "move-slot": [0, 1_000],
  "cut-bus": [100, 7_000],
};

export interface PlannedFault {
  readonly kind: FaultKind;
  /** Start time, from the start of the round. */
  readonly atMs: number;
  readonly durationMs: number;
  /** A number from 0 to 1 that selects the app, the number of connections and the like. */
  readonly choice: number;
}

/** A period with faults that can overlap. At its end, all faults are undone. */
export interface Round {
  readonly lengthMs: number;
  readonly faults: readonly PlannedFault[];
}

/**
 * Plans the round with this number. It depends only on the seed, not on the duration of earlier rounds. Chaos has one
 * round. A short chaos run still has each fault of its deck, but shorter ones.
 */
export function planRound({ harness, topology, seed }: RunOptions, number: number, mostMs: number): Round {
  const chance = new Chance(seed, PLAN_CHANCE + number);
  const isSoak = harness === "soak";
  const lengthMs = isSoak ? Math.min(chance.between(5_000, 20_000), mostMs) : mostMs;
  const pace = PACES[isSoak ? "soak" : topology];
  const deckLength = Object.values(pace.deck).reduce((sum, count) => sum + count, 0);
  const everyMs = isSoak ? pace.everyMs : Math.min(pace.everyMs, (lengthMs * 0.9) / deckLength);
  const faults: PlannedFault[] = [];
  let deck: FaultKind[] = [];
  for (let atMs = everyMs; atMs < lengthMs; atMs += everyMs * chance.between(0.4, 1.6)) {
    if (deck.length === 0) deck = shuffledDeck(pace.deck, chance);
    const kind = deck.pop()!;
    const [least, most] = DURATIONS[kind] ?? [0, 0];
    const longest = Math.min(most, lengthMs * pace.longest);
    // Prefers short durations, so that normal work happens between the faults.
    const wishedMs = least + (longest - least) * chance.part() ** 2;
    const durationMs = Math.round(isSoak ? Math.min(wishedMs, lengthMs - atMs) : wishedMs);
    faults.push({ kind, atMs: Math.round(atMs), durationMs, choice: chance.part() });
  }
  return { lengthMs, faults };
}

function shuffledDeck(kinds: Pace["deck"], chance: Chance): FaultKind[] {
  const deck = (Object.entries(kinds) as [FaultKind, number][]).flatMap(([kind, count]) =>
    Array.from({ length: count }, () => ({ kind, rank: chance.part() })),
  );
  return deck.toSorted((one, other) => one.rank - other.rank).map(({ kind }) => kind);
}
