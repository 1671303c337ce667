import { RedisSseError } from "../errors.js";
import {
  answerTo,
  COMPLETED_ID,
  encodeFault,
  jitteredRetryMs,
  type FaultAnswerOptions,
} from "../sse/http-answer.js";
import { Block } from "../sse/encoded-frames.js";
import type { Delivery } from "./delivery.js";
import { addRetry, encodeControl } from "../sse/frame.js";
import type { CloseReason } from "./session-state.js";
import type { StreamOutput } from "./stream-output.js";

export interface Farewell {
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
export async function endResponse(
  output: StreamOutput,
  delivery: Delivery,
  farewell: Farewell,
): Promise<void> {
  const { reason, fault, answer, timeoutMs } = farewell;
  if (reason === "slow-consumer" || reason === "write-error" || reason === "peer-lost") {
    // Whatever is written now would only wait behind what is not read, or fail again.
    output.destroy();
  } else if (!output.closed) {
    if (output.started) writeFarewell(output, delivery, farewell);
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

function writeFarewell(output: StreamOutput, delivery: Delivery, { reason, fault, answer }: Farewell): void {
  // What came after the last event of a completed stream is no part of it.
  const isEnd = reason === "completed" || reason === "broken";
  if (!isEnd) delivery.writeRest();
  const retryMs = jitteredRetryMs(answer.retryMs, answer.random, answer.jitter);
  const closing = encodeControl("closing", { reason }, isEnd ? COMPLETED_ID : delivery.takeUntoldId());
  output.write(
    new Block(fault === null ? addRetry(closing, retryMs) : encodeFault(fault, retryMs) + closing),
  );
}
