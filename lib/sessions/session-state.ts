import type { CloseReason } from "../close-reasons.js";
import { RedisSseError } from "../errors.js";

/** Where a session is in its life. It only moves to the right; `closed` absorbs every event. */
export type SessionState = "created" | "subscribed" | "closing" | "closed";

/**
 * What a subscribed session does with events: it writes them at once; or reads from the log those that its client
 * has missed; or waits for its client to read what it was sent.
 */
export type Flow = "replaying" | "live" | "stalled";

export type SessionSnapshot =
  | { readonly state: "created" }
  | {
      readonly state: "subscribed";
      readonly flow: Flow;
      /** Events are missing, stalled or not. */ readonly behind: boolean;
    }
  | { readonly state: "closing"; readonly reason: CloseReason }
  | { readonly state: "closed"; readonly reason: CloseReason };

export type SessionEvent =
  /** `behind`: the client has missed events that are in the log. */
  | { readonly type: "subscribe-acknowledged"; readonly behind: boolean }
  | { readonly type: "subscribe-failed" }
  /** The sink took the last write, but wants no more until it has drained. */
  | { readonly type: "blocked" }
  | { readonly type: "drained" }
  /** Events are missing that the log has. */
  | { readonly type: "fell-behind" }
  | { readonly type: "caught-up" }
  /** An event was put aside; `bufferedBytes` is the sum of all that wait. */
  | { readonly type: "buffered"; readonly bufferedBytes: number }
  /** Time has passed: since the session was made, and since the client last took something. */
  | { readonly type: "tick"; readonly ageMs: number; readonly stalledMs: number }
  | { readonly type: "close"; readonly reason: CloseReason }
  | { readonly type: "torn-down" };

/** What the session has to do after a transition, in this order. */
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
 * The one function that changes a session's state. It does nothing itself: the session runs the effects.
 * An event that cannot happen in a state is a fault of the session and throws.
 */
export function transition(from: SessionSnapshot, event: SessionEvent, limits: SessionLimits): Step {
  switch (from.state) {
    case "created":
      return fromCreated(from, event, limits);
    case "subscribed":
      return fromSubscribed(from, event, limits);
    case "closing":
      // The subscription, the sink and the clock may still report while the session tears down: too late.
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
      // Released first, told second: a connection that serves nobody is held by nobody.
      return closing("subscribe-failed", "release", "tell-fault", "tear-down");
    case "buffered":
      // Nobody reads yet, so the client is not slow: more came before the first byte than may be held.
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

const subscribed = (behind: boolean): SessionSnapshot => ({
  state: "subscribed",
  flow: behind ? "replaying" : "live",
  behind,
});

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
