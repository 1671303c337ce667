import { expect } from "chai";
import { restore, stub } from "sinon";

import type { StreamRequest } from "../../../lib/sessions/sink.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { FakeSink } from "../../support/fake-sink.js";
import { RESOLVER_TIMEOUT_MS, SessionRig, type RigStream } from "../../support/session-rig.js";

const MINUTE_MS = 60_000;

/** Streams that expire together end within this time. */
const SPREAD_MS = 5_000;

/** The ticker looks at each stream once in this time. */
const TICK_MS = 1_000;

/** A clock whose date the test can change. Durations stay right, as with the clock of the system. */
class SettableClock extends FakeClock {
  byMs = 0;

  override now(): number {
    return super.now() + this.byMs;
  }

  monotonic(): number {
    return super.now();
  }
}

/** The reason that the client got; `null` while the stream is open. */
function reasonOf({ sink }: RigStream): unknown {
  const last = sink.events.at(-1)!;
  return last.event === "closing" ? (JSON.parse(last.data) as { reason: string }).reason : null;
}

describe("A right to a stream", () => {
  let clock: SettableClock;
  let rig: SessionRig;

  beforeEach(() => {
    clock = new SettableClock();
    rig = new SessionRig({ clock });
  });

  afterEach(async () => {
    restore();
    expect(await rig.close()).to.equal(0);
    expect(clock.pending, "timers left").to.equal(0);
  });

  /** Advances the clock in ticks, so that promises can settle in between. */
  async function pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += TICK_MS) {
      clock.advance(TICK_MS);
      await settle(1);
    }
  }

  describe("that expires", () => {
    for (const [what, toDate] of [
      ["a number", (time: number) => time],
      ["a Date", (time: number) => new Date(time)],
    ] as const) {
      it(`ends the stream at the time of ${what}, and not before`, async () => {
        const stream = await rig.open({ expiresAt: toDate(clock.now() + MINUTE_MS) }, "a");
        clock.advance(MINUTE_MS - 1);
        expect(reasonOf(stream)).to.equal(null);
        clock.advance(SPREAD_MS + 1);
        expect(reasonOf(stream)).to.equal("authorization-expired");
        await settle();
        expect(stream.session.state).to.equal("closed");
        expect(stream.sink.text).to.match(/^retry: \d+$/m);
      });
    }

    it("ends streams with the same time one after the other", async () => {
      const expiresAt = clock.now() + MINUTE_MS;
      const streams = await Promise.all(Array.from({ length: 200 }, () => rig.open({ expiresAt }, "a")));
      clock.advance(MINUTE_MS);
      const ended: number[] = [];
      for (let second = 0; second < SPREAD_MS / 1_000; second++) {
        clock.advance(1_000);
        ended.push(streams.filter((stream) => reasonOf(stream) !== null).length);
      }
      for (const [second, count] of ended.slice(0, -1).entries()) {
        expect(count - (ended[second - 1] ?? 0), `ends in second ${second}`).to.be.within(1, 100);
      }
      expect(ended.at(-1)).to.equal(200);
    });

    it("ends the stream after the time that was left, if the date changes later", async () => {
      const streams = await Promise.all(
        [0, 1].map(() => rig.open({ expiresAt: clock.now() + MINUTE_MS }, "a")),
      );
      clock.byMs = -86_400_000;
      clock.advance(MINUTE_MS - 1);
      clock.byMs = 86_400_000;
      expect(streams.map(reasonOf)).to.deep.equal([null, null]);
      clock.byMs = -86_400_000;
      clock.advance(SPREAD_MS + 1);
      expect(streams.map(reasonOf)).to.deep.equal(Array(2).fill("authorization-expired"));
    });

    for (const expiresAt of [undefined, null, Infinity, Number.MAX_VALUE, new Date(8.64e15)]) {
      it(`never ends the stream for ${String(expiresAt)}`, async () => {
        const stream = await rig.open({ expiresAt, heartbeatMs: false }, "a");
        // One timer for all streams.
        expect(clock.pending).to.equal(1);
        clock.advance(3_600_000);
        expect(reasonOf(stream)).to.equal(null);
      });
    }

    it("costs no timer, and shares the encoded events with other streams", async () => {
      const write = stub(FakeSink.prototype, "write").callThrough();
      await rig.open({}, "a");
      const timers = clock.pending;
      await rig.open({ expiresAt: clock.now() + MINUTE_MS }, "a");
      expect(clock.pending).to.equal(timers);
      write.resetHistory();
      rig.publish("a", "1");
      const [[first], [second]] = write.args as [[unknown], [unknown]];
      expect(second).to.equal(first);
      expect(write.callCount).to.equal(2);
    });

    it("answers with a retryable error if it ends before the stream is open", async () => {
      stub(Math, "random").returns(0);
      rig.logs.before = () => new Promise(() => {});
      const opening = rig.open({ expiresAt: clock.now() + 1, from: "earliest" }, "a");
      await settle();
      clock.advance(TICK_MS);
      const { session, sink } = await opening;
      expect(session.closeReason).to.equal("authorization-expired");
      expect(sink.answered).to.have.property("status", 200);
      expect(sink.answered!.body.toString()).to.match(/^retry: \d+\nevent: error\n/);
    });
  });

  describe("that is checked again", () => {
    /** Opens a stream with a check whose answers the test gives. */
    async function open(
      check: () => unknown,
      options: Omit<NonNullable<StreamRequest["revalidate"]>, "check" | "everyMs"> = {},
    ): Promise<RigStream & { readonly calls: () => number }> {
      let count = 0;
      const counted = (): unknown => {
        count++;
        return check();
      };
      const stream = await rig.open(
        { revalidate: { everyMs: MINUTE_MS, check: counted, ...options }, heartbeatMs: false },
        "a",
      );
      return { ...stream, calls: () => count };
    }

    it("is checked once in each period, and first at a random time in it", async () => {
      const firsts: number[] = [];
      const checks = await Promise.all(Array.from({ length: 100 }, () => open(() => true)));
      for (let second = 1; second <= 61; second++) {
        await pass(1_000);
        firsts.push(checks.filter(({ calls }) => calls() > 0).length);
      }
      expect(firsts[29]).to.be.within(20, 80);
      expect(firsts.at(-1)).to.equal(100);
      await pass(9 * MINUTE_MS);
      for (const { calls } of checks) expect(calls()).to.be.within(9, 12);
    });

    it("varies the period by a tenth", async () => {
      for (const [random, from, to] of [
        [0, 54, 55],
        [0.5, 60, 61],
        [1 - Number.EPSILON, 66, 67],
      ] as const) {
        const dice = stub(Math, "random").returns(0);
        const times: number[] = [];
        const stream = await open(() => times.push(clock.now()));
        dice.returns(random);
        await pass(3 * MINUTE_MS);
        expect((times[1]! - times[0]!) / 1_000, String(random)).to.be.within(from, to);
        await stream.session.close();
        restore();
      }
    });

    it("gets the session, and only after the stream is open", async () => {
      const seen: unknown[] = [];
      const stream = await rig.open(
        { revalidate: { everyMs: 1, check: (session) => seen.push([session, session.state]) } },
        "a",
      );
      expect(seen).to.deep.equal([]);
      await pass(TICK_MS);
      expect(seen).to.deep.equal([[stream.session, "subscribed"]]);
    });

    for (const [what, answer] of [
      ["false", () => false],
      ["undefined", () => undefined],
      ["0", () => Promise.resolve(0)],
      ["an empty string", () => Promise.resolve("")],
    ] as const) {
      it(`ends the stream as revoked if the check answers ${what}`, async () => {
        const stream = await open(answer);
        await pass(MINUTE_MS);
        expect(reasonOf(stream)).to.equal("revoked");
        expect(stream.calls()).to.equal(1);
        await pass(3 * MINUTE_MS);
        expect(stream.calls(), "checks after the end").to.equal(1);
      });
    }

    const FAILING: readonly (readonly [string, () => unknown])[] = [
      [
        "throws",
        () => {
          throw new Error("no");
        },
      ],
      ["rejects", () => Promise.reject(new Error("no"))],
      ["does not answer", () => new Promise(() => {})],
    ];
    for (const [what, check] of FAILING) {
      for (const onError of ["keep", "end", undefined] as const) {
        const ends = onError === "end";
        it(`${ends ? "ends" : "keeps"} the stream if the check ${what}, with onError ${onError}`, async () => {
          stub(Math, "random").returns(0.5);
          const stream = await open(check, { onError });
          await pass(MINUTE_MS / 2 + RESOLVER_TIMEOUT_MS);
          expect(reasonOf(stream)).to.equal(ends ? "revoked" : null);
          expect(rig.failedChecks).to.have.length(1);
          await pass(MINUTE_MS);
          expect(stream.calls()).to.equal(ends ? 1 : 2);
        });
      }
    }

    it("starts no check while one runs, and takes its late answer", async () => {
      const answer = deferred<boolean>();
      const stream = await rig.open(
        { revalidate: { everyMs: 1_000, check: () => (calls++, answer.promise) }, heartbeatMs: false },
        "a",
      );
      let calls = 0;
      await pass(RESOLVER_TIMEOUT_MS - 3_000);
      expect(calls).to.equal(1);
      answer.resolve(false);
      await settle();
      expect(reasonOf(stream)).to.equal("revoked");
    });

    it("keeps the reason and holds nothing if the stream ends during a check", async () => {
      const answer = deferred<boolean>();
      stub(Math, "random").returns(0.5);
      const stream = await open(() => answer.promise, { onError: "end" });
      await pass(MINUTE_MS / 2);
      expect(stream.calls()).to.equal(1);
      stream.sink.leave();
      await settle();
      expect(stream.session.state).to.equal("closed");
      expect(clock.pending, "timers of the check and the ticker").to.equal(0);
      answer.resolve(false);
      await settle();
      expect(stream.session.closeReason).to.equal("client-gone");
      expect(rig.failedChecks).to.deep.equal([]);
    });
  });
});
