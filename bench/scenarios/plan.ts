import type { Durations, FanOut } from "./fan-out.js";
import type { Idle } from "./idle.js";
import type { ScenarioName } from "./names.js";
import type { QueueShape } from "./queues.js";
import type { Reconnect } from "./reconnect.js";
import type { Channels, LargeEvents, Storm } from "./smooth.js";
import type { Stalled } from "./stalled.js";

/** The numbers of a run; a quick one has small ones. */
export interface Plan {
  readonly fanOut: Readonly<Record<FanOutName, FanOut>>;
  readonly durations: Durations;
  readonly reconnect: readonly (Reconnect & { readonly name: string })[];
  readonly stalled: Stalled;
  readonly idle: Idle;
  /** Streams that open and get nothing. */
  readonly opening: Readonly<Record<"connect" | "memory", FanOut>>;
  readonly smooth: {
    readonly event: LargeEvents;
    readonly storm: Storm;
    readonly rules: LargeEvents;
    readonly back: Channels;
    readonly resume: Storm;
  };
  readonly queue: QueueShape;
  /** Left out unless they are named: so many servers do not fit into two minutes. */
  readonly leftOut: readonly string[];
}

export type FanOutName = "burst" | "single" | "per-user" | "wide";

const FULL: Plan = {
  fanOut: {
    burst: { streams: 500, channels: 1, window: 32 },
    single: { streams: 500, channels: 1, window: 1 },
    "per-user": { streams: 1_000, channels: 1_000, window: 256 },
    wide: { streams: 8_000, channels: 1, window: 1 },
  },
  durations: { warmUpSeconds: 1, seconds: 1.5, settleMs: 200 },
  reconnect: [
    { name: "1 channel", streams: 1_000, channels: 1, missed: 500 },
    { name: "1,000 channels", streams: 1_000, channels: 1_000, missed: 100 },
  ],
  stalled: { readers: 50, events: 12_000, size: 1_024 },
  idle: { streams: 10_000, heartbeatMs: 3_000, seconds: 9 },
  opening: {
    connect: { streams: 4_000, channels: 100, window: 1 },
    memory: { streams: 8_000, channels: 1, window: 1 },
  },
  smooth: {
    event: { streams: 5_000, events: 1, size: 262_144 },
    storm: { streams: 5_000, channels: 1_000, missed: 50 },
    rules: { streams: 2_000, events: 5, size: 250_000 },
    back: { streams: 5_000, channels: 2_000 },
    resume: { streams: 50, channels: 50, missed: 10_000 },
  },
  queue: {
    tasks: 20_000,
    portion: 1_000,
    concurrency: 50,
    warmUp: 4_000,
    pickUps: 500,
    everyMs: 12,
    queues: 5,
  },
  leftOut: [],
};

const QUICK: Plan = {
  fanOut: {
    ...FULL.fanOut,
    "per-user": { streams: 500, channels: 500, window: 256 },
    wide: { streams: 1_000, channels: 1, window: 1 },
  },
  durations: { warmUpSeconds: 0.2, seconds: 0.25, settleMs: 50 },
  reconnect: [
    { name: "1 channel", streams: 500, channels: 1, missed: 100 },
    { name: "200 channels", streams: 200, channels: 200, missed: 50 },
  ],
  stalled: { ...FULL.stalled, events: 2_000 },
  idle: { streams: 2_000, heartbeatMs: 1_000, seconds: 2 },
  opening: {
    connect: { streams: 1_000, channels: 100, window: 1 },
    memory: { streams: 1_000, channels: 1, window: 1 },
  },
  smooth: {
    event: { streams: 500, events: 1, size: 262_144 },
    storm: { streams: 500, channels: 100, missed: 50 },
    rules: { streams: 100, events: 5, size: 250_000 },
    back: { streams: 500, channels: 200 },
    resume: { streams: 10, channels: 10, missed: 1_000 },
  },
  queue: { ...FULL.queue, tasks: 1_000, warmUp: 200, pickUps: 30 },
  leftOut: ["transmit", "express-sse", "per-stream", "bare", "floor", "commands", "bee-queue"],
};

export function planOf(quick: boolean): Plan {
  return quick ? QUICK : FULL;
}

/** How many files one process has open at most: each stream, and with a connection per stream that too. */
export function openFilesOf(plan: Plan, names: readonly ScenarioName[]): number {
  const streams = names.map((name) => {
    if (isFanOut(name)) return plan.fanOut[name].streams;
    if (name === "connect" || name === "memory") return plan.opening[name].streams;
    if (name.startsWith("smooth-")) return plan.smooth.storm.streams;
    return name === "idle" ? plan.idle.streams : 1_000;
  });
  return Math.max(...streams) + 2_000;
}

function isFanOut(name: ScenarioName): name is FanOutName {
  return name in FULL.fanOut;
}
