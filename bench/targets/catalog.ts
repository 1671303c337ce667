/** Which servers there are to measure, and what each can do. */

export interface Target {
  readonly name: string;
  /** As it is called in the report. */
  readonly label: string;
  /** A Node script of this folder; `floor` and `nchan` are programs of their own. */
  readonly runs: { readonly script: string } | { readonly program: "floor" | "nchan" };
  /** How events reach it: a plain PUBLISH on Redis, or a script of `publishers/` that the client publishes through. */
  readonly fedBy: "redis" | "history" | "transmit" | "nchan";
  /** Channel names begin with it. */
  readonly prefix: string;
  /** It tells its audience apart by channels. Default true. */
  readonly manyChannels?: boolean;
  /** Measured only when it is named, since nobody would choose it for its speed. Default false. */
  readonly onlyByName?: boolean;
  /** It can have thousands of streams. Default true. */
  readonly manyStreams?: boolean;
  /** No peer: it says what can be reached at most. Default false. */
  readonly isBound?: boolean;
  /** Handed to the script. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Where the compiled scripts are, when it is not this checkout that they measure. */
  readonly folder?: string;
}

const plain = { fedBy: "redis", prefix: "plain:" } as const;

const script = (name: string): { script: string } => ({ script: `targets/${name}.js` });

/** The ratios are to this one. */
export const ours: Target = { name: "redis-sse", label: "redis-sse", runs: script("redis-sse"), ...plain };

export const oursWithHistory: Target = {
  name: "redis-sse-history",
  label: "redis-sse, history, by publish()",
  runs: script("redis-sse"),
  fedBy: "history",
  prefix: "kept:",
};

/** Between the two: through `publish()` as well, and nothing kept. What differs from it is what history costs. */
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
