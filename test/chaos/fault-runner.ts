import { setTimeout as pause } from "node:timers/promises";

import type { Tally } from "../soak/tally.js";
import type { PlannedFault } from "./fault-plan.js";
import { provoke, type FaultTarget } from "./faults.js";
import { machineNow } from "./machine-clock.js";

/** A fault as it came about; times are since the run began. */
export interface FaultRecord extends PlannedFault {
  readonly begunMs: number;
  outcome: string;
}

/** Brings all faults about, each at its time. Resolves when all are undone. */
export async function runFaults(
  target: FaultTarget,
  faults: readonly PlannedFault[],
  startedAt: number,
  records: FaultRecord[],
  tally: Tally,
): Promise<void> {
  const firstAt = machineNow();
  await Promise.all(
    faults.map(async (fault) => {
      await pause(firstAt + fault.atMs - machineNow());
      const record: FaultRecord = {
        ...fault,
        begunMs: machineNow() - startedAt,
        outcome: "under way",
      };
      records.push(record);
      try {
        await provoke[fault.kind](target, fault);
        tally.add(fault.kind);
        record.outcome = `done by ${seconds(machineNow() - startedAt)}`;
      } catch (error) {
        tally.add("missed");
        record.outcome = `missed: ${(error as Error).message}`;
      }
    }),
  );
}

export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(2)} s`;
}
