import { Chance } from "../soak/chance.js";
import type { Topology } from "./options.js";

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

export type FaultKind = keyof typeof SINGLE | keyof typeof CLUSTER;

interface Pace {
  readonly deck: Partial<Readonly<Record<FaultKind, number>>>;
  /** Between two faults, on average and at the most. */
  readonly everyMs: number;
  /** The part of a run that one fault takes at the most. */
  readonly longest: number;
}

/** Until another server has taken over takes a few seconds, and the next such fault waits until all is whole again. */
const PACES: Readonly<Record<Topology, Pace>> = {
  single: { deck: SINGLE, everyMs: 600, longest: 1 / 15 },
  cluster: { deck: CLUSTER, everyMs: 1_500, longest: 1 / 5 },
  sentinel: { deck: SENTINEL, everyMs: 1_500, longest: 1 / 5 },
};

/** How long each lasts, in milliseconds. */
const DURATIONS: Readonly<Record<FaultKind, readonly [least: number, most: number]>> = {
  "kill-subscribers": [0, 0],
  "kill-commands": [0, 0],
  "cut-redis-links": [0, 0],
  "cut-at-reply": [0, 0],
  "hold-redis-link": [100, 7_000],
  "cut-streams": [0, 0],
  "forget-scripts": [0, 0],
  "end-app": [0, 500],
  "kill-app": [0, 500],
  "stop-redis": [100, 7_000],
  "crash-redis": [20, 2_500],
  "fail-over": [0, 0],
  "move-slot": [0, 1_000],
  "cut-bus": [100, 7_000],
};

export interface PlannedFault {
  readonly kind: FaultKind;
  readonly atMs: number;
  readonly durationMs: number;
  /** From 0 to 1: which app, how many links, whatever the kind chooses by it. */
  readonly choice: number;
}

/** The faults of a run, in their order. A run that is short has each of them all the same, and briefer ones. */
export function planFaults(seed: number, seconds: number, topology: Topology): readonly PlannedFault[] {
  const chance = new Chance(seed, PLAN_CHANCE);
  const lengthMs = seconds * 1_000;
  const pace = PACES[topology];
  const deckLength = Object.values(pace.deck).reduce((sum, count) => sum + count, 0);
  const everyMs = Math.min(pace.everyMs, (lengthMs * 0.9) / deckLength);
  const mostMs = lengthMs * pace.longest;
  const faults: PlannedFault[] = [];
  let deck: FaultKind[] = [];
  for (let atMs = everyMs; atMs < lengthMs; atMs += everyMs * chance.between(0.4, 1.6)) {
    if (deck.length === 0) deck = shuffledDeck(pace.deck, chance);
    const kind = deck.pop()!;
    const [least, most] = DURATIONS[kind];
    // More often short than long: between the faults there has to be something that they can hit.
    const durationMs = Math.round(least + (Math.min(most, mostMs) - least) * chance.part() ** 2);
    faults.push({ kind, atMs: Math.round(atMs), durationMs, choice: chance.part() });
  }
  return faults;
}

function shuffledDeck(kinds: Pace["deck"], chance: Chance): FaultKind[] {
  const deck = (Object.entries(kinds) as [FaultKind, number][]).flatMap(([kind, count]) =>
    Array.from({ length: count }, () => ({ kind, rank: chance.part() })),
  );
  return deck.toSorted((one, other) => one.rank - other.rank).map(({ kind }) => kind);
}
