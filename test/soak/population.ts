import { setMaxListeners } from "node:events";
import { setTimeout as pause } from "node:timers/promises";

import { deferred } from "../support/eventually.js";
import { Chance } from "./chance.js";
import { Visit, type VisitContext } from "./client.js";
import type { Ledger } from "./ledger.js";
import type { SoakOptions } from "./options.js";
import { StreamCheck, type SilentHole } from "./stream-check.js";
import { planVisit } from "./visit-plan.js";

/** The streams of chance that belong to clients begin here. */
const FIRST_CLIENT = 100;

export interface PopulationContext extends VisitContext {
  readonly ledger: Ledger;
  readonly silentHoles: SilentHole[];
}

/** All clients: each opens one stream after another, until they are told to stop. */
export class Population {
  readonly #options: SoakOptions;
  readonly #context: PopulationContext;
  readonly #chances: readonly Chance[];
  readonly #visits = new Set<Visit>();
  #stop = new AbortController();
  #clients: Promise<unknown> = Promise.resolve();
  #visitCount = 0;
  #gate: Promise<void> = Promise.resolve();

  constructor(options: SoakOptions, context: PopulationContext) {
    this.#options = options;
    this.#context = context;
    this.#chances = Array.from(
      { length: options.clients },
      (_, index) => new Chance(options.seed, FIRST_CLIENT + index),
    );
  }

  start(): void {
    this.#stop = new AbortController();
    setMaxListeners(0, this.#stop.signal); // every client that pauses listens to it
    this.#clients = Promise.all(this.#chances.map((chance) => this.#live(chance)));
  }

  /** All leave, each in its own way; resolves when every socket is closed. */
  async leave(): Promise<void> {
    this.#stop.abort();
    for (const visit of this.#visits) visit.leave();
    await this.#clients;
  }

  /** Until it is called off nobody comes: a pool that is full and an app that is busy have time to recover. */
  keepAway(): () => void {
    const gate = deferred();
    this.#gate = gate.promise;
    return gate.resolve;
  }

  /** Those who hear whatever is published now. */
  get listening(): readonly Visit[] {
    return [...this.#visits].filter((visit) => visit.listens);
  }

  async #live(chance: Chance): Promise<void> {
    const { signal } = this.#stop;
    let gate: Promise<void> | null = null;
    for (;;) {
      while (this.#gate !== gate) {
        gate = this.#gate;
        await gate;
        // They do not all come in one moment.
        await pause(chance.between(0, 2_000), undefined, { signal }).catch(() => {});
      }
      if (signal.aborted) return;
      const pauseMs = await this.#visit(chance);
      await pause(pauseMs, undefined, { signal }).catch(() => {});
    }
  }

  /** Answers how long to wait before the next. */
  async #visit(chance: Chance): Promise<number> {
    const plan = planVisit(chance);
    const { ledger, violations, silentHoles, tally } = this.#context;
    const name = `stream ${++this.#visitCount} (${plan.channels.join(",")}; ${plan.asking}${plan.stall ? "; stalls" : ""})`;
    const { mode } = this.#options;
    const check = new StreamCheck({ name, channels: plan.channels, mode, ledger, violations, silentHoles });
    const visit = new Visit(this.#context, plan, check);
    this.#visits.add(visit);
    await visit.over;
    this.#visits.delete(visit);
    if (!visit.turnedAway) return plan.pauseMs;
    tally.add("reconnects");
    return plan.hasty ? 0 : visit.retryMs;
  }
}
