import { AsyncResource } from "node:async_hooks";

import { assertOptions, optionError } from "../validate.js";
import { assertAtOnce } from "../sync-callback.js";
import type { StreamEvent } from "../events/inbound-event.js";

// "disconnect" is the default policy. `backlog.ts` drops events, `buffer-budget.ts` limits the buffers of all clients
// together, and `sessions/session-state.ts` ends streams.

/**
 * How a stream handles a slow client.
 *
 * - "disconnect": If more than `limits.maxBufferedBytes` are buffered, the server closes the stream with reason
 *   `slow-consumer`. The client reconnects. On channels with history, it gets the missed events.
 * - "drop-oldest": The oldest buffered events are dropped.
 * - "latest": Only the newest event of each channel stays in the buffer.
 * - `{ latestBy }`: Only the newest event of each key stays in the buffer. Each channel has separate keys.
 *
 * `latestBy` gets an event as the client gets it. It must return a string or a number, not a promise. It runs in the
 * asynchronous context in which the stream was opened. All events of a channel without a valid key share one key. If
 * `latestBy` throws or returns a promise, `onError` of the mount is called, and the event has no valid key.
 *
 * These events are never dropped:
 *
 * - Events that `session.send()` sent.
 * - The last event of a channel or of the stream.
 * - The newest event, while only the stream's own limit is exceeded. It is buffered even if it is larger than
 *   `limits.maxBufferedBytes`.
 *
 * After dropped events, the client gets a `gap` event with reason `slow-consumer`. With each policy, `limits.maxStallMs`
 * ends a stream whose client reads nothing.
 *
 * A policy applies only to events that are buffered in this process. The client first gets the data that Node.js and the
 * operating system already hold for the socket. A client that reconnects gets all missed events of the history.
 */
export type SlowConsumerPolicy =
  | "disconnect"
  | "drop-oldest"
  | "latest"
  | {
      /** Returns the key of an event. Only the newest event of each key stays in the buffer. */
      readonly latestBy: (event: StreamEvent) => string | number;
    };

const NAMES: ReadonlySet<unknown> = new Set(["disconnect", "drop-oldest", "latest"]);

/** Throws `ConfigError` if the policy is invalid. */
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

/** Binds `latestBy` to the current asynchronous context. Later, events arrive in the contexts of other requests. */
export function bindSlowConsumer(policy: SlowConsumerPolicy): SlowConsumerPolicy {
  return typeof policy === "object" ? { latestBy: AsyncResource.bind(policy.latestBy) } : policy;
}
