import { setTimeout as pause } from "node:timers/promises";

import type { PlannedFault, Round } from "./fault-plan.js";
import { provoke, settleServer, type FaultTarget } from "./faults.js";
import type { Tally } from "./tally.js";
import type { Violations } from "./violations.js";

/** A fault as it came about. */
export interface FaultRecord extends PlannedFault {
  /** Since the run began. */
  readonly atRunMs: number;
  outcome: string;
}

/** Brings a round's faults about, each at its time, and undoes them. */
export class FaultRunner {
  readonly records: FaultRecord[] = [];
  readonly #target: FaultTarget;
  readonly #violations: Violations;
  readonly #tally: Tally;
  readonly #startedAt = Date.now();

  constructor(target: FaultTarget, violations: Violations, tally: Tally) {
    this.#target = target;
    this.#violations = violations;
    this.#tally = tally;
  }

  /** Resolves when the round is over and all its faults are undone. */
  async run(round: Round): Promise<void> {
    await Promise.all([pause(round.lengthMs), ...round.faults.map((fault) => this.#run(fault))]);
    await settleServer(this.#target.server);
  }

  async #run(fault: PlannedFault): Promise<void> {
    await pause(fault.atMs);
    const atRunMs = Date.now() - this.#startedAt;
    const record: FaultRecord = { ...fault, atRunMs, outcome: "under way" };
    this.records.push(record);
    const undo: (() => Promise<unknown>)[] = [];
    try {
      await provoke[fault.kind](this.#target, fault, (action) => undo.push(action));
      this.#tally.add(fault.kind);
      record.outcome = "done";
    } catch (error) {
      this.#tally.add("missed");
      record.outcome = `missed: ${(error as Error).message}`;
    }
    const leftMs = this.#startedAt + atRunMs + fault.durationMs - Date.now();
    if (leftMs > 0) await pause(leftMs);
    for (const action of undo) await this.#violations.check("every fault can be undone", action);
  }
}
