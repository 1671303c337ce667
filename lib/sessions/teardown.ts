import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { sanitize, type RedisSseError } from "../errors.js";

export interface TeardownStage {
  readonly name: "unsubscribe" | "close" | "reset";
  run(): Promise<void> | void;
  onDone?(): void;
  onFault(fault: RedisSseError): void;
}

/**
 * Runs the stages one after the other, each with a deadline and error handling of its own: one that fails,
 * hangs or throws never keeps the next from running. Never rejects.
 */
export async function runTeardown(
  stages: readonly TeardownStage[],
  clock: Clock,
  stageTimeoutMs: number,
): Promise<void> {
  for (const stage of stages) {
    try {
      // An async function turns a stage that throws at once into one that rejects.
      const work = (async () => stage.run())();
      await withDeadline(work, { clock, timeoutMs: stageTimeoutMs, what: `${stage.name} to end` });
      stage.onDone?.();
    } catch (error) {
      stage.onFault(sanitize(error));
    }
  }
}
