/** The servers to measure, and their abilities. */

export interface Target {
  readonly name: string;
  /** Name in the report. */
  readonly label: string;
  /** A Node script of this folder, or `floor` or `nchan`, which are separate programs. */
  readonly runs: { readonly script: string } | { readonly program: "floor" | "nchan" };
  /** Source of its events: plain PUBLISH in Redis, or a script in `publishers/`. */
  readonly fedBy: "redis" | "history" | "transmit" | "nchan";
  /** Prefix of all channel names. */
  readonly prefix: string;
  /** Whether the server has channels. Defaults to true. */
  readonly manyChannels?: boolean;
  /** Measured only if it is named on the command line. Defaults to false. */
  readonly onlyByName?: boolean;
  /** Whether it can have thousands of streams. Defaults to true. */
  readonly manyStreams?: boolean;
  /** Whether it is only a reference for the maximum, not a competitor. Defaults to false. */
  readonly isBound?: boolean;
  /** Arguments of the script. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Folder of the compiled scripts, if they measure another checkout. */
  readonly folder?: string;
}

const plain = { fedBy: "redis", prefix: "plain:" } as const;

const script = (name: string): { script: string } => ({ script: `targets/${name}.js` });

/** All ratios compare with this target. */
export const ours: Target = { name: "redis-sse", label: "redis-sse", runs: script("redis-sse"), ...plain };

export const oursWithHistory: Target = {
  name: "redis-sse-history",
  label: "redis-sse, history, by publish()",
  runs: script("redis-sse"),
  fedBy: "history",
  prefix: "kept:",
};

/** Uses `publish()` without history. The difference to the target with history is the cost of history. */
export const oursPublished: Target = {
  name: "redis-sse-published",
  label: "redis-sse, no history, by publish()",
  runs: script("redis-sse"),
  fedBy: "history",
  prefix: "plain:",
};

export const targets: readonly Target[] = [
  ours,
  {
    name: "redis-sse-dedicated",
    label: "redis-sse, `dedicated`",
    runs: script("redis-sse"),
    ...plain,
    manyStreams: false,
    onlyByName: true,
    options: { subscriptions: "dedicated" },
  },
  { name: "hand-written", label: "hand-written", runs: script("hand-written"), ...plain },
  { name: "better-sse", label: "better-sse", runs: script("better-sse"), ...plain },
  { name: "fastify-sse", label: "@fastify/sse", runs: script("fastify-sse"), ...plain },
  {
    name: "transmit",
    label: "@boringnode/transmit",
    runs: script("transmit"),
    fedBy: "transmit",
    prefix: "plain:",
  },
  {
    name: "express-sse",
    label: "express-sse",
    runs: script("express-sse"),
    ...plain,
    manyChannels: false,
    manyStreams: false,
  },
  {
    name: "per-stream",
    label: "a connection per stream",
    runs: script("per-stream"),
    ...plain,
    manyStreams: false,
  },
  {
    name: "nchan",
    label: "Nchan in nginx (C)",
    runs: { program: "nchan" },
    fedBy: "nchan",
    prefix: "plain:",
  },
  { name: "bare", label: "a bare Node server", runs: script("bare"), ...plain, isBound: true },
  { name: "floor", label: "the floor (C)", runs: { program: "floor" }, ...plain },
];
