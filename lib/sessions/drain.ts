import { monotonicNow, type Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import type { ServiceLog } from "../logger.js";
import type { Slices } from "../slices.js";
import type { SessionRegistry } from "./session-registry.js";

/** See `DrainOptions`. */
export interface DrainPlan {
  readonly timeoutMs: number;
  readonly spreadMs: number;
  readonly beforeStreamsEnd: (() => unknown) | undefined;
}

export interface DrainContext {
  readonly clock: Clock;
  readonly slices: Slices;
  readonly log: ServiceLog;
  /** Fires when the service closes. */
  readonly closing: AbortSignal;
}

/** Closes all sessions, spread over time. After `timeoutMs`, closes the rest without further delay. Never rejects. */
export async function drainSessions(
  registry: SessionRegistry,
  { timeoutMs, spreadMs, beforeStreamsEnd }: DrainPlan,
  context: DrainContext,
): Promise<void> {
  const { clock, slices, log } = context;
  const endsAt = monotonicNow(clock) + timeoutMs;
  if (beforeStreamsEnd !== undefined && !context.closing.aborted) {
    await waitFor(beforeStreamsEnd, timeoutMs, context);
  }
  const leftMs = Math.max(0, endsAt - monotonicNow(clock));
  const withinMs = Math.min(spreadMs, leftMs);
  log.info("draining: closing %s streams within %s ms", registry.size, Math.round(withinMs));
  const late = new AbortController();
  const closing = registry.closeAll("drain", { clock, slices, spreadMs: withinMs, hurry: late.signal });
  // A client that does not read the end of its stream is dropped at the deadline of the teardown.
  const deadline = { clock, timeoutMs: leftMs, what: "all streams to end" };
  await withDeadline(closing, deadline).catch(() => late.abort());
}

async function waitFor(
  beforeStreamsEnd: () => unknown,
  timeoutMs: number,
  { clock, log, closing: signal }: DrainContext,
): Promise<void> {
  try {
    const waiting = (async () => beforeStreamsEnd())();
    await withDeadline(waiting, { clock, timeoutMs, what: "beforeStreamsEnd()", signal });
  } catch (error) {
    if (!signal.aborted) log.error(error, "beforeStreamsEnd() of drain() failed, and the drain continues");
  }
}
