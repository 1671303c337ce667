import type { Chance } from "./chance.js";

/** The form of a client's request. */
type Asking =
  | "plain"
  /** Sends further requests in the same packet. The app destroys the connection. */
  | "pipelined"
  /** Sends the second half of the request later. */
  | "in-halves"
  /** Never sends the second half. */
  | "half";

/** One visit of a client, decided in advance: its connection, its stream and how it leaves. */
export interface VisitPlan {
  /** Index of the app. */
  readonly app: number;
  readonly asking: Asking;
  readonly leaving: "destroy" | "reset" | "fin";
  /** Maximum time of the visit after it started, answered or not. */
  readonly patienceMs: number;
  /** Time after the start of the stream. */
  readonly stayMs: number;
  /** Time without reading. */
  readonly stall: { readonly afterMs: number; readonly forMs: number } | null;
  /**
   * Whether the client reconnects at once after the server ended the stream. Otherwise it waits for the retry delay.
   */
  readonly isHasty: boolean;
  /** Delay before the next visit, if the server sent none. */
  readonly pauseMs: number;
}

export interface Habits {
  readonly apps: number;
  /** Whether the client sends unusual requests and stalls. */
  readonly isRude: boolean;
  /** Whether the client has enough events that a stall is noticed. */
  readonly isLoud: boolean;
}

export function planVisit(chance: Chance, { apps, isRude, isLoud }: Habits): VisitPlan {
  const asking = chance.weighted({ plain: 90, pipelined: 5, "in-halves": 3, half: 2 });
  const leaving = chance.oneOf(["destroy", "reset", "fin"] as const);
  const stalls = isRude && chance.is(isLoud ? 0.4 : 0.06);
  const stall = {
    afterMs: chance.between(0, 1_500),
    forMs: chance.is(0.5) ? chance.between(100, 4_000) : Infinity,
  };
  // On a busy machine, no client would connect if all of them left this early.
  const isImpatient = chance.is(0.2) || (isRude && asking === "half");
  return {
    app: chance.whole(0, apps - 1),
    asking: isRude ? asking : "plain",
    leaving: isRude ? leaving : "destroy",
    patienceMs: isImpatient ? 8_000 * chance.part() ** 2 : Infinity,
    stayMs: (isRude ? 15_000 : 8_000) * chance.part() ** 2 + (stalls ? 3_000 : 0),
    stall: stalls ? stall : null,
    isHasty: chance.is(0.3),
    pauseMs: chance.is(0.1) ? chance.between(500, 2_500) : chance.between(20, 400),
  };
}
