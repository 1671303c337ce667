import { AsyncResource } from "node:async_hooks";

import { assertOptions, optionError } from "../validate.js";
import { assertAtOnce } from "../sync-callback.js";
import type { StreamEvent } from "../events/inbound-event.js";

// The policies; "disconnect" is the default. `backlog.ts` drops events by them, `buffer-budget.ts` limits what waits for all clients
// together, and `sessions/session-state.ts` ends streams.

/**
 * What becomes of a stream whose client does not read as fast as it is written to:
 * - "disconnect": it ends as `slow-consumer` when more than `limits.maxBufferedBytes` wait. The client comes back,
 *   and where channels have a history it gets what it missed;
 * - "drop-oldest": the oldest that wait are dropped;
 * - "latest": of each channel only the newest waits, or of each key that `latestBy` gives an event of the channel.
 *
 * `latestBy` sees an event as its stream gets it, and answers text or a number, at once. It runs in the asynchronous context
 * in which its stream was opened. All for which it answers something else are one key of their channel; so are those for
 * which it throws or answers a promise, of which `onError` of the mount is told. Never dropped are what `session.send()`
 * sent, and what ends a channel or the stream; nor, for the bound of its own stream, the newest event: one that is larger
 * than `limits.maxBufferedBytes` waits all the same.
 *
 * Where something was dropped a `gap` (`slow-consumer`) tells it. `limits.maxStallMs` ends a stream under each of them.
 *
 * What "latest" and `latestBy` keep is what waits in this process. What Node and the system hold for the socket was written
 * before, and is read first; and what a log has for a client that comes back is sent whole.
 */
export type SlowConsumerPolicy =
  | "disconnect"
  | "drop-oldest"
  | "latest"
  | {
      /** Returns the key of an event. Of each key only the newest event waits. */
      readonly latestBy: (event: StreamEvent) => string | number;
    };

const NAMES: ReadonlySet<unknown> = new Set(["disconnect", "drop-oldest", "latest"]);

/** Throws `ConfigError` for what is none. */
export function readSlowConsumer(policy: unknown): SlowConsumerPolicy {
  if (NAMES.has(policy)) return policy as SlowConsumerPolicy;
  if (typeof policy === "object" && policy !== null) {
    assertOptions("slowConsumer", policy, new Set(["latestBy"]));
    const { latestBy } = policy as { latestBy?: unknown };
    if (typeof latestBy !== "function") throw optionError("slowConsumer.latestBy as a function", latestBy);
    assertAtOnce("slowConsumer.latestBy", latestBy);
    return policy as SlowConsumerPolicy;
  }
  throw optionError(
    'slowConsumer as "disconnect", "drop-oldest", "latest" or { latestBy: (event) => key }',
    policy,
  );
}

/** As the stream that is being opened asks it: in this asynchronous context, whoever has events passed on later. */
export function bindSlowConsumer(policy: SlowConsumerPolicy): SlowConsumerPolicy {
  return typeof policy === "object" ? { latestBy: AsyncResource.bind(policy.latestBy) } : policy;
}
