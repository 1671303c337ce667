import { Chance } from "./chance.js";

/** The streams of chance of the rounds begin here; far from those of the clients. */
const FIRST_ROUND = 1_000_000;

/** How often each is chosen, against the others. */
const WEIGHTS = {
  "kill-subscribers": 12,
  "kill-connections": 8,
  "cut-links": 10,
  "hold-links": 8,
  "refuse-links": 6,
  "cut-at-subscribe": 8,
  "cut-at-reply": 8,
  "pause-server": 6,
  "stop-server": 5,
  "crash-server": 4,
  "limit-clients": 6,
  "deny-channel": 6,
  "limit-output": 6,
  "block-app": 5,
  "rotate-password": 4,
} as const;

export type FaultKind = keyof typeof WEIGHTS;

/** How long each lasts, in milliseconds. */
const DURATIONS: Readonly<Record<FaultKind, readonly [least: number, most: number]>> = {
  "kill-subscribers": [0, 0],
  "kill-connections": [0, 0],
  "cut-links": [0, 0],
  "hold-links": [200, 7_000],
  "refuse-links": [100, 3_000],
  "cut-at-subscribe": [1_000, 3_000],
  "cut-at-reply": [500, 2_000],
  "pause-server": [100, 2_500],
  "stop-server": [200, 6_000],
  "crash-server": [50, 2_500],
  "limit-clients": [300, 3_000],
  "deny-channel": [200, 3_000],
  "limit-output": [500, 1_500],
  "block-app": [500, 2_000],
  "rotate-password": [200, 3_000],
};

export interface PlannedFault {
  readonly kind: FaultKind;
  /** From the beginning of its round. */
  readonly atMs: number;
  readonly durationMs: number;
  /** From 0 to 1: which channel, how near to the limit, whatever the kind chooses by it. */
  readonly choice: number;
}

/** A time of faults, which may overlap; by its end all of them are undone. */
export interface Round {
  readonly lengthMs: number;
  readonly faults: readonly PlannedFault[];
}

/** The rounds of a seed, by their number: none depends on how much time was left for the one before. */
export function planRound(seed: number, number: number, mostMs: number): Round {
  const chance = new Chance(seed, FIRST_ROUND + number);
  const lengthMs = Math.min(chance.between(5_000, 20_000), mostMs);
  const faults: PlannedFault[] = [];
  // Every other fault may overlap with every other; but one process is not stopped and crashed at once.
  let serverFreeAtMs = 0;
  for (let atMs = chance.between(0, 600); atMs < lengthMs; atMs += chance.between(50, 2_500)) {
    const kind = chance.weighted(WEIGHTS);
    const [least, most] = DURATIONS[kind];
    // More often short than long: between the faults there have to be streams that they can hit.
    const durationMs = Math.min(least + (most - least) * chance.part() ** 2, lengthMs - atMs);
    const choice = chance.part();
    if (kind === "stop-server" || kind === "crash-server") {
      if (atMs < serverFreeAtMs) continue;
      serverFreeAtMs = atMs + durationMs + 500;
    }
    faults.push({ kind, atMs: Math.round(atMs), durationMs: Math.round(durationMs), choice });
  }
  return { lengthMs, faults };
}
