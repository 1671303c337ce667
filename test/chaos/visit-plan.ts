import type { Chance } from "./chance.js";

/** How a client asks for its stream. */
type Asking =
  | "plain"
  /** Further requests follow in the same packet: the app destroys the connection. */
  | "pipelined"
  /** The second half of the request comes later. */
  | "in-halves"
  /** The second half never comes. */
  | "half";

/** One life of a client: a connection, a stream, and how it leaves, all decided beforehand. */
export interface VisitPlan {
  /** Which app, by its index. */
  readonly app: number;
  readonly asking: Asking;
  readonly leaving: "destroy" | "reset" | "fin";
  /** It leaves so long after it came, whether or not it was answered. */
  readonly patienceMs: number;
  /** And so long after its stream began. */
  readonly stayMs: number;
  /** Reads nothing for a while. */
  readonly stall: { readonly afterMs: number; readonly forMs: number } | null;
  /** Comes back at once when the server ends the stream, or after the time that it was told. */
  readonly isHasty: boolean;
  /** Before the next life, where the server did not say. */
  readonly pauseMs: number;
}

export interface Habits {
  readonly apps: number;
  /** It asks in strange ways, and stalls. */
  readonly isRude: boolean;
  /** It listens to so much that it is noticed when it stalls. */
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
  // On a busy machine nobody ever would be connected, did all of them leave before.
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
