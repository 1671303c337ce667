import { monotonicNow, type Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import type { ServiceLog } from "../logger.js";
import type { Slices } from "../slices.js";
import { assertOptions, optionError, readMilliseconds, readWholeNumber } from "../validate.js";
import type { SessionRegistry } from "./session-registry.js";

/** Options of `drain()`. */
export interface DrainOptions {
  /**
   * Milliseconds after which all streams are closed.
   *
   * @defaultValue 10_000
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Milliseconds over which the ends of the streams are spread, so that clients do not all reconnect at the same time.
   *
   * @defaultValue half of `timeoutMs`
   */
  readonly spreadMs?: number | undefined;
  /**
   * Called when `check()` returns `CLOSED` and new streams are refused, before the first stream ends. The drain waits for its
   * promise, as a part of `timeoutMs`.
   *
   * With it, an app can wait until its load balancer has noticed that the process takes no new streams. If it throws or rejects,
   * or takes too long, the `logger` gets an error, and the drain continues.
   *
   * @example beforeStreamsEnd: () => setTimeout(5_000) // of node:timers/promises
   * @defaultValue the streams begin to end at once
   */
  readonly beforeStreamsEnd?: (() => void | Promise<void>) | undefined;
}

/** `DrainOptions` with every default filled in. */
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

const DRAIN_OPTIONS: ReadonlySet<string> = new Set<keyof DrainOptions>([
  "timeoutMs",
  "spreadMs",
  "beforeStreamsEnd",
]);

/** Throws `ConfigError` if an option is invalid. */
export function readDrainOptions(options: DrainOptions = {}): DrainPlan {
  assertOptions("drain()", options, DRAIN_OPTIONS);
  const { timeoutMs = 10_000, beforeStreamsEnd } = options;
  readMilliseconds("timeoutMs", timeoutMs, 0);
  const { spreadMs = Math.floor(timeoutMs / 2) } = options;
  readWholeNumber("spreadMs", spreadMs, 0, timeoutMs);
  if (beforeStreamsEnd !== undefined && typeof beforeStreamsEnd !== "function") {
    throw optionError("beforeStreamsEnd as a function", beforeStreamsEnd);
  }
  return { timeoutMs, spreadMs, beforeStreamsEnd };
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
