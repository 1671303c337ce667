import type { Clock } from "../clock.js";
import type { CloseReason } from "../catalogue/close-reasons.js";
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
 * Runs the stages in order. Each stage has its own deadline and error handling. If a stage fails, hangs or throws, the next
 * stage still runs. Never rejects.
 */
export async function runTeardown(
  stages: readonly TeardownStage[],
  clock: Clock,
  stageTimeoutMs: number,
): Promise<void> {
  for (const stage of stages) {
    try {
      // The async function turns a thrown error into a rejection.
      const work = (async () => stage.run())();
      await withDeadline(work, { clock, timeoutMs: stageTimeoutMs, what: `${stage.name} to end` });
      stage.onDone?.();
    } catch (error) {
      stage.onFault(sanitize(error));
    }
  }
}

const log = createLog("session");

/** The stages in which a session releases its subscriptions and its connection: unsubscribe, close, reset. */
export function stagesOf(transport: Transport, channels: readonly string[]): readonly TeardownStage[] {
  return [
    {
      name: "unsubscribe",
      run: () => transport.unsubscribe(channels),
      onDone: () => channels.forEach((channel) => log("[SSE] unsubscribed: %s", printable(channel))),
      onFault: (fault) => log("[SSE] unsubscribe failed, closing anyway: %s", fault.message),
    },
    {
      name: "close",
      run: () => transport.close(),
      onFault: (fault) => log("[SSE] close failed, resetting anyway: %s", fault.message),
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
  /** The error that the client gets with the reason. */
  readonly fault: RedisSseError | null;
  readonly answer: FaultAnswerOptions;
  /** How long the client has to read the rest of the stream. */
  readonly timeoutMs: number;
}

/**
 * Ends the response of a session. If the client can still read, it gets the buffered events, the reason and `retry:`.
 * Resolves within the deadline, and never rejects.
 */
export async function endResponse(output: StreamOutput, delivery: Delivery, end: ResponseEnd): Promise<void> {
  const { reason, fault, answer, timeoutMs } = end;
  if (reason === "slow-consumer" || reason === "write-error" || reason === "peer-lost") {
    // The client does not read, or a write would fail again.
    output.destroy();
  } else if (!output.closed) {
    if (output.started) writeEnd(output, delivery, end);
    else if (reason !== "subscribe-failed") {
      output.answer(
        answerTo(
          fault ?? new RedisSseError("CLOSED", `the server closed this stream with reason "${reason}"`),
          answer,
        ),
      );
    }
    // No more events are written. The client may still need time to read the last bytes, so the buffer is freed first.
    delivery.dropRest();
    await output.end(timeoutMs);
  }
  delivery.dropRest();
}

function writeEnd(output: StreamOutput, delivery: Delivery, { reason, fault, answer }: ResponseEnd): void {
  // Events after the last event of a completed stream do not belong to the stream.
  const isEnd = reason === "completed" || reason === "broken";
  if (!isEnd) delivery.writeRest();
  const retryMs = jitteredRetryMs(answer);
  const closing = encodeControl("closing", { reason }, isEnd ? COMPLETED_ID : delivery.takeUntoldId());
  output.write(
    new EncodedFrames(fault === null ? addRetry(closing, retryMs) : encodeFault(fault, retryMs) + closing),
  );
}
