import type { CloseReason } from "../catalogue/close-reasons.js";
import { RedisSseError } from "../errors.js";

/** The state of a session. It only moves from left to right. In `closed`, it ignores every event. */
export type SessionState = "created" | "subscribed" | "closing" | "closed";

/**
 * How a subscribed session handles events.
 *
 * - `live`: It writes events at once.
 * - `replaying`: It reads missed events from the history.
 * - `stalled`: It waits until the client reads the data that was sent.
 */
export type Flow = "replaying" | "live" | "stalled";

export type SessionSnapshot =
  | { readonly state: "created" }
  | {
      readonly state: "subscribed";
      readonly flow: Flow;
      /** Whether the client is missing events. This can be true while the session is stalled. */
      readonly behind: boolean;
    }
  | { readonly state: "closing"; readonly reason: CloseReason }
  | { readonly state: "closed"; readonly reason: CloseReason };

export type SessionEvent =
  /** `behind`: the client has missed events that are in the history. */
  | { readonly type: "subscribe-acknowledged"; readonly behind: boolean }
  | { readonly type: "subscribe-failed" }
  /** The sink accepted the last write, but must drain before the next one. */
  | { readonly type: "blocked" }
  | { readonly type: "drained" }
  /** The client is missing events that are in the history. */
  | { readonly type: "fell-behind" }
  | { readonly type: "caught-up" }
  /** An event was buffered. `bufferedBytes` is the size of all buffered events. */
  | { readonly type: "buffered"; readonly bufferedBytes: number }
  /** Time has passed. `ageMs` counts from the creation of the session, `stalledMs` from the write that stalled it. */
  | { readonly type: "tick"; readonly ageMs: number; readonly stalledMs: number }
  | { readonly type: "close"; readonly reason: CloseReason }
  | { readonly type: "torn-down" };

/** What the session must do after a transition, in this order. */
export type SessionEffect =
  "announce" | "flush" | "replay" | "release" | "tell-fault" | "tear-down" | "report-closed";

export interface SessionLimits {
  readonly maxBufferedBytes: number;
  readonly maxStallMs: number;
  readonly maxLifetimeMs: number;
}

type Step = readonly [SessionSnapshot, readonly SessionEffect[]];

export const initialSnapshot: SessionSnapshot = { state: "created" };

const closing = (reason: CloseReason, ...effects: SessionEffect[]): Step => [
  { state: "closing", reason },
  effects,
];

/**
 * Returns the next state of a session and the effects that the session must run. It has no effects itself. An event that
 * is impossible in a state is a bug in the session, and throws.
 */
export function transition(from: SessionSnapshot, event: SessionEvent, limits: SessionLimits): Step {
  switch (from.state) {
    case "created":
      return fromCreated(from, event, limits);
    case "subscribed":
      return fromSubscribed(from, event, limits);
    case "closing":
      // During the teardown, events from the subscription, the sink and the clock have no effect.
      return event.type === "torn-down"
        ? [{ state: "closed", reason: from.reason }, ["report-closed"]]
        : [from, []];
    case "closed":
      return [from, []];
  }
}

function fromCreated(from: SessionSnapshot, event: SessionEvent, limits: SessionLimits): Step {
  switch (event.type) {
    case "subscribe-acknowledged":
      return [subscribed(event.behind), ["announce", "flush", ...replayIf(event.behind)]];
    case "subscribe-failed":
      // The connection is released before the client gets the error, because it serves no client any more.
      return closing("subscribe-failed", "release", "tell-fault", "tear-down");
    case "buffered":
      // The stream has not started, so the client is not slow. Too many events arrived before the start.
      return event.bufferedBytes > limits.maxBufferedBytes ? closing("limit", "tear-down") : [from, []];
    case "close":
      return closing(event.reason, "tear-down");
    case "tick":
      return [from, []];
    case "blocked":
    case "drained":
    case "fell-behind":
    case "caught-up":
    case "torn-down":
      return illegal(from, event);
  }
}

/** All sessions share these, because most of them are `live` most of the time. */
const LIVE: SessionSnapshot = { state: "subscribed", flow: "live", behind: false };
const REPLAYING: SessionSnapshot = { state: "subscribed", flow: "replaying", behind: true };

const subscribed = (behind: boolean): SessionSnapshot => (behind ? REPLAYING : LIVE);

const replayIf = (behind: boolean): readonly SessionEffect[] => (behind ? ["replay"] : []);

function fromSubscribed(
  from: SessionSnapshot & { readonly state: "subscribed" },
  event: SessionEvent,
  limits: SessionLimits,
): Step {
  switch (event.type) {
    case "blocked":
      return [{ ...from, flow: "stalled" }, []];
    case "drained":
      return [subscribed(from.behind), ["flush", ...replayIf(from.behind)]];
    case "fell-behind":
      return from.flow === "stalled" ? [{ ...from, behind: true }, []] : [subscribed(true), ["replay"]];
    case "caught-up":
      return from.flow === "stalled" ? [{ ...from, behind: false }, []] : [subscribed(false), []];
    case "buffered":
      return event.bufferedBytes > limits.maxBufferedBytes
        ? closing("slow-consumer", "tear-down")
        : [from, []];
    case "tick":
      if (from.flow === "stalled" && event.stalledMs >= limits.maxStallMs) {
        return closing("slow-consumer", "tear-down");
      }
      return event.ageMs >= limits.maxLifetimeMs ? closing("max-lifetime", "tear-down") : [from, []];
    case "close":
      return closing(event.reason, "tear-down");
    case "subscribe-acknowledged":
    case "subscribe-failed":
    case "torn-down":
      return illegal(from, event);
  }
}

function illegal(from: SessionSnapshot, event: SessionEvent): never {
  throw new RedisSseError("INTERNAL", `illegal transition: "${event.type}" in state "${from.state}"`);
}
