import type { Clock } from "../clock.js";
import type { CloseReason } from "../close-reasons.js";
import { withDeadline } from "../deadline.js";
import { sanitize, RedisSseError } from "../errors.js";
import { createLog, printable } from "../log.js";
import { EncodedFrames, addRetry, encodeControl } from "../sse/frame.js";
import {
  answerTo,
  COMPLETED_ID,
  encodeFault,
  jitteredRetryMs,
  type FaultAnswerOptions,
} from "../sse/http-answer.js";
import type { Transport } from "../subscriptions/transport.js";
import type { Delivery } from "./delivery.js";
import type { StreamOutput } from "./stream-output.js";

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

const log = createLog("session");

/** How a session gives its subscriptions and its connection back: unsubscribe, close, reset. */
export function stagesOf(transport: Transport, channels: readonly string[]): readonly TeardownStage[] {
  return [
    {
      name: "unsubscribe",
      run: () => transport.unsubscribe(channels),
      onDone: () => channels.forEach((channel) => log("[SSE] unsubscribed: %s", printable(channel))),
      onFault: (fault) => log("[SSE] unsubscribe failed (closing all the same): %s", fault.message),
    },
    {
      name: "close",
      run: () => transport.close(),
      onFault: (fault) => log("[SSE] close failed (resetting all the same): %s", fault.message),
    },
    {
      name: "reset",
      run: () => transport.reset(),
      onFault: (fault) => log("[SSE] reset failed: %s", fault.message),
    },
  ];
}

export interface ResponseEnd {
  readonly reason: CloseReason;
  /** What the client is told beside the reason. */
  readonly fault: RedisSseError | null;
  readonly answer: FaultAnswerOptions;
  /** By when the client has to have read it. */
  readonly timeoutMs: number;
}

/**
 * Ends a session's response: what still waits, then why it ends and when to come back, where there is
 * anybody to read it. Never rejects, and is over within the deadline.
 */
export async function endResponse(output: StreamOutput, delivery: Delivery, end: ResponseEnd): Promise<void> {
  const { reason, fault, answer, timeoutMs } = end;
  if (reason === "slow-consumer" || reason === "write-error" || reason === "peer-lost") {
    // Whatever is written now would only wait behind what is not read, or fail again.
    output.destroy();
  } else if (!output.closed) {
    if (output.started) writeEnd(output, delivery, end);
    else if (reason !== "subscribe-failed") {
      output.answer(
        answerTo(fault ?? new RedisSseError("CLOSED", `this stream was closed: ${reason}`), answer),
      );
    }
    // Whatever is not written by now never will be, however long the client takes to read the last of it.
    delivery.dropRest();
    await output.end(timeoutMs);
  }
  delivery.dropRest();
}

function writeEnd(output: StreamOutput, delivery: Delivery, { reason, fault, answer }: ResponseEnd): void {
  // What came after the last event of a completed stream is no part of it.
  const isEnd = reason === "completed" || reason === "broken";
  if (!isEnd) delivery.writeRest();
  const retryMs = jitteredRetryMs(answer);
  const closing = encodeControl("closing", { reason }, isEnd ? COMPLETED_ID : delivery.takeUntoldId());
  output.write(
    new EncodedFrames(fault === null ? addRetry(closing, retryMs) : encodeFault(fault, retryMs) + closing),
  );
}
