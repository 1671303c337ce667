import type { Chance } from "./chance.js";

/** How a client asks for its stream. */
export type Asking =
  | "plain"
  /** Further requests follow in the same packet: the app destroys the connection. */
  | "pipelined"
  /** The second half of the request comes later. */
  | "in-halves"
  /** The second half never comes. */
  | "half";

export type Leaving = "destroy" | "reset" | "fin";

/** One life of a client: a connection, a stream, and how it leaves, all decided beforehand. */
export interface VisitPlan {
  readonly channels: readonly string[];
  readonly asking: Asking;
  readonly leaving: Leaving;
  /** Counted from the first byte that the client sends: some leave before they are answered. */
  readonly leaveAfterMs: number;
  /** Reads nothing for a while. */
  readonly stall: { readonly afterMs: number; readonly forMs: number } | null;
  /** Comes back at once when the server ends the stream, or after the time that it was told. */
  readonly hasty: boolean;
  /** Before the next life, where the client left by itself. */
  readonly pauseMs: number;
}

export const CHANNELS: readonly string[] = Array.from({ length: 50 }, (_, index) => `room:${index}`);

/** Carries so much that a client which does not read falls behind. Few listen to it. */
export const LOUD_CHANNEL = "loud";

export function planVisit(chance: Chance): VisitPlan {
  const early = chance.is(0.15);
  const stalls = chance.is(0.08);
  // A client that stalls on a quiet channel waits in vain to be noticed.
  const loud = stalls ? chance.is(0.2) : chance.is(0.004);
  const channels = new Set(loud ? [LOUD_CHANNEL] : []);
  const count = chance.is(0.2) ? chance.whole(2, 6) : 1;
  while (channels.size < count) channels.add(chance.oneOf(CHANNELS));
  const afterMs = chance.between(0, 1_500);
  return {
    channels: [...channels],
    asking: chance.weighted({ plain: 90, pipelined: 5, "in-halves": 3, half: 2 }),
    leaving: chance.oneOf(["destroy", "reset", "fin"]),
    leaveAfterMs: early ? chance.between(0, 80) : 100 + 15_000 * chance.part() ** 2 + (stalls ? 3_000 : 0),
    stall: stalls ? { afterMs, forMs: chance.is(0.5) ? chance.between(100, 4_000) : Infinity } : null,
    hasty: chance.is(0.3),
    pauseMs: chance.between(0, 1_500),
  };
}
