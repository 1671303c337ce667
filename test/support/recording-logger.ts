import type { Clock, Logger } from "../../lib/index.js";
import { ServiceLog } from "../../lib/logger.js";
import { FakeClock } from "./fake-clock.js";

/** A logger that records its lines, each with its level. */
export function recordingLogger(): { readonly logger: Logger; readonly lines: readonly string[] } {
  const lines: string[] = [];
  const write =
    (level: string) =>
    (message: string): void =>
      void lines.push(`${level} ${message}`);
  return {
    logger: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
    lines,
  };
}

/** The recorded messages of a component that a test creates itself. */
export function recordingLog(clock: Clock = new FakeClock()): {
  readonly log: ServiceLog;
  readonly lines: readonly string[];
} {
  const { logger, lines } = recordingLogger();
  return { log: new ServiceLog(logger, clock), lines };
}
