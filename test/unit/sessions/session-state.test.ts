import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import {
  initialSnapshot,
  transition,
  type SessionEffect,
  type SessionEvent,
  type SessionSnapshot,
} from "../../../lib/sessions/session-state.js";

const limits = { maxBufferedBytes: 100, maxStallMs: 1_000, maxLifetimeMs: 10_000 };

const CREATED: SessionSnapshot = { state: "created" };
const LIVE: SessionSnapshot = { state: "subscribed", flow: "live", behind: false };
const STALLED: SessionSnapshot = { state: "subscribed", flow: "stalled", behind: false };
/** The same two with events missing that the log has. */
const REPLAYING: SessionSnapshot = { state: "subscribed", flow: "replaying", behind: true };
const STALLED_BEHIND: SessionSnapshot = { state: "subscribed", flow: "stalled", behind: true };
const CLOSING: SessionSnapshot = { state: "closing", reason: "revoked" };
const CLOSED: SessionSnapshot = { state: "closed", reason: "revoked" };

const acknowledged: SessionEvent = { type: "subscribe-acknowledged", behind: false };
const acknowledgedBehind: SessionEvent = { type: "subscribe-acknowledged", behind: true };
const failed: SessionEvent = { type: "subscribe-failed" };
const blocked: SessionEvent = { type: "blocked" };
const drained: SessionEvent = { type: "drained" };
const fellBehind: SessionEvent = { type: "fell-behind" };
const caughtUp: SessionEvent = { type: "caught-up" };
const tornDown: SessionEvent = { type: "torn-down" };
const close: SessionEvent = { type: "close", reason: "drain" };
const buffered = (bufferedBytes: number): SessionEvent => ({ type: "buffered", bufferedBytes });
const tick = (ageMs: number, stalledMs = 0): SessionEvent => ({ type: "tick", ageMs, stalledMs });

type Row = readonly [
  from: SessionSnapshot,
  event: SessionEvent,
  to: SessionSnapshot | "illegal",
  ...SessionEffect[],
];

const closing = (reason: (SessionSnapshot & { state: "closing" })["reason"]): SessionSnapshot => ({
  state: "closing",
  reason,
});

const TABLE: readonly Row[] = [
  [CREATED, acknowledged, LIVE, "announce", "flush"],
  [CREATED, acknowledgedBehind, REPLAYING, "announce", "flush", "replay"],
  [CREATED, failed, closing("subscribe-failed"), "release", "tell-fault", "tear-down"],
  [CREATED, blocked, "illegal"],
  [CREATED, drained, "illegal"],
  [CREATED, fellBehind, "illegal"],
  [CREATED, caughtUp, "illegal"],
  [CREATED, buffered(100), CREATED],
  [CREATED, buffered(101), closing("limit"), "tear-down"],
  [CREATED, tick(0), CREATED],
  [CREATED, tick(1e9, 1e9), CREATED],
  [CREATED, close, closing("drain"), "tear-down"],
  [CREATED, tornDown, "illegal"],

  [LIVE, acknowledged, "illegal"],
  [LIVE, acknowledgedBehind, "illegal"],
  [LIVE, failed, "illegal"],
  [LIVE, blocked, STALLED],
  [LIVE, drained, LIVE, "flush"],
  [LIVE, fellBehind, REPLAYING, "replay"],
  [LIVE, caughtUp, LIVE],
  [LIVE, buffered(100), LIVE],
  [LIVE, buffered(101), closing("slow-consumer"), "tear-down"],
  [LIVE, tick(9_999, 1e9), LIVE],
  [LIVE, tick(10_000), closing("max-lifetime"), "tear-down"],
  [LIVE, close, closing("drain"), "tear-down"],
  [LIVE, tornDown, "illegal"],

  [REPLAYING, acknowledged, "illegal"],
  [REPLAYING, acknowledgedBehind, "illegal"],
  [REPLAYING, failed, "illegal"],
  [REPLAYING, blocked, STALLED_BEHIND],
  [REPLAYING, drained, REPLAYING, "flush", "replay"],
  [REPLAYING, fellBehind, REPLAYING, "replay"],
  [REPLAYING, caughtUp, LIVE],
  [REPLAYING, buffered(100), REPLAYING],
  [REPLAYING, buffered(101), closing("slow-consumer"), "tear-down"],
  [REPLAYING, tick(9_999, 1e9), REPLAYING],
  [REPLAYING, tick(10_000), closing("max-lifetime"), "tear-down"],
  [REPLAYING, close, closing("drain"), "tear-down"],
  [REPLAYING, tornDown, "illegal"],

  [STALLED, acknowledged, "illegal"],
  [STALLED, acknowledgedBehind, "illegal"],
  [STALLED, failed, "illegal"],
  [STALLED, blocked, STALLED],
  [STALLED, drained, LIVE, "flush"],
  [STALLED, fellBehind, STALLED_BEHIND],
  [STALLED, caughtUp, STALLED],
  [STALLED, buffered(100), STALLED],
  [STALLED, buffered(101), closing("slow-consumer"), "tear-down"],
  [STALLED, tick(9_999, 999), STALLED],
  [STALLED, tick(9_999, 1_000), closing("slow-consumer"), "tear-down"],
  [STALLED, tick(10_000, 999), closing("max-lifetime"), "tear-down"],
  [STALLED, tick(10_000, 1_000), closing("slow-consumer"), "tear-down"],
  [STALLED, close, closing("drain"), "tear-down"],
  [STALLED, tornDown, "illegal"],

  [STALLED_BEHIND, acknowledged, "illegal"],
  [STALLED_BEHIND, acknowledgedBehind, "illegal"],
  [STALLED_BEHIND, failed, "illegal"],
  [STALLED_BEHIND, blocked, STALLED_BEHIND],
  [STALLED_BEHIND, drained, REPLAYING, "flush", "replay"],
  [STALLED_BEHIND, fellBehind, STALLED_BEHIND],
  [STALLED_BEHIND, caughtUp, STALLED],
  [STALLED_BEHIND, buffered(100), STALLED_BEHIND],
  [STALLED_BEHIND, buffered(101), closing("slow-consumer"), "tear-down"],
  [STALLED_BEHIND, tick(9_999, 999), STALLED_BEHIND],
  [STALLED_BEHIND, tick(9_999, 1_000), closing("slow-consumer"), "tear-down"],
  [STALLED_BEHIND, tick(10_000, 999), closing("max-lifetime"), "tear-down"],
  [STALLED_BEHIND, tick(10_000, 1_000), closing("slow-consumer"), "tear-down"],
  [STALLED_BEHIND, close, closing("drain"), "tear-down"],
  [STALLED_BEHIND, tornDown, "illegal"],

  [CLOSING, acknowledged, CLOSING],
  [CLOSING, acknowledgedBehind, CLOSING],
  [CLOSING, failed, CLOSING],
  [CLOSING, blocked, CLOSING],
  [CLOSING, drained, CLOSING],
  [CLOSING, fellBehind, CLOSING],
  [CLOSING, caughtUp, CLOSING],
  [CLOSING, buffered(1e9), CLOSING],
  [CLOSING, tick(1e9, 1e9), CLOSING],
  [CLOSING, close, CLOSING],
  [CLOSING, tornDown, CLOSED, "report-closed"],

  [CLOSED, acknowledged, CLOSED],
  [CLOSED, acknowledgedBehind, CLOSED],
  [CLOSED, failed, CLOSED],
  [CLOSED, blocked, CLOSED],
  [CLOSED, drained, CLOSED],
  [CLOSED, fellBehind, CLOSED],
  [CLOSED, caughtUp, CLOSED],
  [CLOSED, buffered(1e9), CLOSED],
  [CLOSED, tick(1e9, 1e9), CLOSED],
  [CLOSED, close, CLOSED],
  [CLOSED, tornDown, CLOSED],
];

describe("transition()", () => {
  it("begins with a session that is created", () => {
    expect(initialSnapshot).to.deep.equal(CREATED);
  });

  for (const [from, event, to, ...effects] of TABLE) {
    if (to === "illegal") {
      it(`refuses ${nameOf(event)} when ${nameOf(from)}`, () => {
        expect(() => transition(from, event, limits))
          .to.throw(RedisSseError, `"${event.type}" in state "${from.state}"`)
          .with.property("code", "INTERNAL");
      });
    } else {
      it(`goes from ${nameOf(from)} by ${nameOf(event)} to ${nameOf(to)}, ${effects.join(", ") || "nothing to do"}`, () => {
        expect(transition(from, event, limits)).to.deep.equal([to, effects]);
      });
    }
  }

  it("is tabled here for every state and every event", () => {
    const states = [
      "created",
      "subscribed live false",
      "subscribed replaying true",
      "subscribed stalled false",
      "subscribed stalled true",
      "closing revoked",
      "closed revoked",
    ];
    const types = [
      acknowledged,
      failed,
      blocked,
      drained,
      fellBehind,
      caughtUp,
      buffered(0),
      tick(0),
      close,
      tornDown,
    ].map(({ type }) => type);
    const tabled = new Set(TABLE.map(([from, event]) => `${nameOf(from)} ${event.type}`));
    expect([...tabled]).to.have.members(states.flatMap((state) => types.map((type) => `${state} ${type}`)));
  });

  it("never ends a session by age that has no end", () => {
    const endless = { ...limits, maxLifetimeMs: Infinity };
    expect(transition(LIVE, tick(Number.MAX_SAFE_INTEGER), endless)).to.deep.equal([LIVE, []]);
  });

  it("keeps the first reason, whatever comes after", () => {
    const [first] = transition(CREATED, close, limits);
    const [second] = transition(first, { type: "close", reason: "app" }, limits);
    const [last] = transition(second, tornDown, limits);
    expect(last).to.deep.equal({ state: "closed", reason: "drain" });
  });
});

function nameOf(value: SessionSnapshot | SessionEvent): string {
  return Object.values(value).join(" ");
}
