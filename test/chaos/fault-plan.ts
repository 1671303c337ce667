import { Chance } from "./chance.js";
import type { RunOptions } from "./options.js";

const PLAN_CHANCE = 900_000;

/** How often each is done in a deck: every deck has all of them, in an order of its own. */
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

/** Without the links to Redis: there are several servers, which clients find by themselves. */
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

/** Of one app that has to live: its process and its streams are left alone. */
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
  /** Between two faults, on average and at the most. */
  readonly everyMs: number;
  /** The part of a run that one fault takes at the most. */
  readonly longest: number;
}

/** Until another server has taken over takes a few seconds, and the next such fault waits until all is whole again. */
const PACES: Readonly<Record<RunOptions["topology"] | "soak", Pace>> = {
  single: { deck: SINGLE, everyMs: 600, longest: 1 / 15 },
  cluster: { deck: CLUSTER, everyMs: 1_500, longest: 1 / 5 },
  sentinel: { deck: SENTINEL, everyMs: 1_500, longest: 1 / 5 },
  soak: { deck: SOAK, everyMs: 800, longest: 1 },
};

/** How long each lasts, in milliseconds; those that are not here are done at once. */
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
  /** From the beginning of its round. */
  readonly atMs: number;
  readonly durationMs: number;
  /** From 0 to 1: which app, how many links, whatever the kind chooses by it. */
  readonly choice: number;
}

/** A time of faults, which may overlap; by its end all of them are undone. */
export interface Round {
  readonly lengthMs: number;
  readonly faults: readonly PlannedFault[];
}

/**
 * The rounds of a seed, by their number: none depends on how much time was left for the one before. Chaos is one round. If it is
 * short, it has each fault of its deck all the same, and briefer ones.
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
    // More often short than long: between the faults there has to be something that they can hit.
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
