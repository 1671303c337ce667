import { expect } from "chai";

import type { RedisSseError } from "../../../lib/errors.js";
import { SessionRegistry } from "../../../lib/sessions/session-registry.js";
import type { OnLimit } from "../../../lib/sse/http-answer.js";
import type { CloseReason } from "../../../lib/catalogue/close-reasons.js";

const MAX = 3;

describe("SessionRegistry", () => {
  let registry: SessionRegistry;

  /** A session that the test closes. */
  class Session {
    closeReason: CloseReason | null = null;

    evict(): void {
      this.begin("limit");
    }

    begin(reason: CloseReason): void {
      this.closeReason = reason;
      registry.closing(this as never);
    }

    end(): void {
      registry.remove(this as never);
    }
  }

  /** Adds one more session for a key, or returns the error code at the limit. */
  function admit(key: string, onLimit: OnLimit): Session | string {
    try {
      registry.assertRoom(key, onLimit);
    } catch (error) {
      return (error as RedisSseError).code;
    }
    const session = new Session();
    registry.add(session as never, key);
    return session;
  }

  function admitAll(count: number, key: string, onLimit: OnLimit = "event"): Session[] {
    return Array.from({ length: count }, () => admit(key, onLimit) as Session);
  }

  beforeEach(() => {
    registry = new SessionRegistry({ maxSessions: 100, maxSessionsPerKey: MAX });
  });

  for (const onLimit of ["event", "status"] as const) {
    it(`counts a closing session until it is closed and evicts none (onLimit: "${onLimit}")`, () => {
      const [first, ...others] = admitAll(MAX, "ann", onLimit);
      expect(admit("ann", onLimit)).to.equal("LIMIT_SESSIONS_PER_KEY");
      first!.begin("client-gone");
      expect(admit("ann", onLimit)).to.equal("LIMIT_SESSIONS_PER_KEY");
      first!.end();
      expect(admit("ann", onLimit)).to.be.instanceOf(Session);
      for (const { closeReason } of others) expect(closeReason).to.equal(null);
    });
  }

  it("accepts at most twice the limit, including closing sessions", () => {
    const sessions = admitAll(2 * MAX, "ann", "evict-oldest");
    expect(sessions.map(({ closeReason }) => closeReason)).to.deep.equal([
      ...Array<string>(MAX).fill("limit"),
      ...Array<null>(MAX).fill(null),
    ]);
    expect(admit("ann", "evict-oldest")).to.equal("LIMIT_SESSIONS_PER_KEY");
    expect(sessions[MAX]!.closeReason).to.equal(null);
    sessions[0]!.end();
    expect(admit("ann", "evict-oldest")).to.be.instanceOf(Session);
    expect(sessions[MAX]!.closeReason).to.equal("limit");
  });

  it("removes a key with its last session", () => {
    const sessions = admitAll(2 * MAX, "ann", "evict-oldest");
    for (const session of sessions) {
      if (session.closeReason === null) session.begin("app");
      session.end();
    }
    expect(registry.statistics).to.deep.include({ open: 0, closed: { limit: MAX, app: MAX } });
    expect(admitAll(MAX, "ann").every((session) => session instanceof Session)).to.equal(true);
  });
});
