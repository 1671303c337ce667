import type { Durations, FanOut } from "./fan-out.js";
import type { ScenarioName } from "./names.js";

/** The numbers of a run; a quick one has small ones. */
export interface Plan {
  readonly fanOut: Readonly<Record<"burst" | "single" | "per-user" | "wide", FanOut>>;
  readonly durations: Durations;
}

export type FanOutName = keyof Plan["fanOut"];

const FULL: Plan = {
  fanOut: {
    burst: { streams: 500, channels: 1, window: 32 },
    single: { streams: 500, channels: 1, window: 1 },
    "per-user": { streams: 1_000, channels: 1_000, window: 256 },
    wide: { streams: 8_000, channels: 1, window: 1 },
  },
  durations: { warmUpSeconds: 2, seconds: 4, settleMs: 500 },
};

const QUICK: Plan = {
  fanOut: { ...FULL.fanOut, wide: { ...FULL.fanOut.wide, streams: 2_000 } },
  durations: { warmUpSeconds: 0.3, seconds: 0.6, settleMs: 100 },
};

export function planOf(quick: boolean): Plan {
  return quick ? QUICK : FULL;
}

export function isFanOut(name: ScenarioName): name is FanOutName {
  return name in FULL.fanOut;
}
