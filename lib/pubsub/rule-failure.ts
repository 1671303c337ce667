import { createLog, printable } from "../log.js";
import { describeThrown } from "./app-answer.js";
import type { StreamEvent } from "./stream-event.js";

/** What an application may say of the events of a stream. */
export type RuleName = "filter" | "transform" | "until" | "latestBy";

/** For what event a rule threw, or gave an answer that is none: never its data. */
export interface RuleFailure {
  readonly rule: RuleName;
  /** The event's channel; empty for what `session.send()` sent. */
  readonly channel: string;
  /** The event's type; `undefined` is what a client dispatches as `message`. */
  readonly event: string | undefined;
}

export type OnRuleError = (error: unknown, failure: RuleFailure) => void;

const log = createLog("session");

/** Tells the log and the application that a rule of a stream failed. Never throws. */
export function tellFailure(
  rule: RuleName,
  error: unknown,
  { channel, event }: Omit<StreamEvent, "data">,
  onError: OnRuleError | undefined,
): void {
  log("%s() failed on %s: %s", rule, printable(channel), describeThrown(error));
  try {
    onError?.(error, { rule, channel, event });
  } catch (fault) {
    log("onError() threw: %s", describeThrown(fault));
  }
}
