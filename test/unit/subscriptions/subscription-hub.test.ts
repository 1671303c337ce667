import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import type { SubscriptionHub } from "../../../lib/subscriptions/subscription-hub.js";
import { deferred, settle } from "../../support/eventually.js";
import type { FakeClock } from "../../support/fake-clock.js";
import { HubRig, LINGER_MS, Member, type FakeConnection } from "./hub-rig.js";

describe("SubscriptionHub", () => {
  let rig: HubRig;
  let hub: SubscriptionHub;
  let clock: FakeClock;
  let connection: FakeConnection;

  beforeEach(() => {
    rig = new HubRig();
    ({ hub, clock, connection } = rig);
  });

  it("connects with the first join, and once", async () => {
    expect(rig.connects).to.equal(0);
    await rig.member("a");
    await rig.member("b");
    expect(rig.connects).to.equal(1);
  });

  describe("join()", () => {
    it("subscribes once for all members of a channel", async () => {
      const members = [new Member(), new Member(), new Member()];
      await Promise.all(members.map((member) => hub.join("a", member)));
      await rig.member("a");
      expect(connection.log).to.deep.equal(["subscribe a"]);
      expect(hub.channels).to.deep.equal(["a"]);
    });

    it("has the member in place before the subscription is acknowledged", async () => {
      const member = new Member();
      const acknowledged = deferred();
      connection.answer = () => acknowledged.promise;
      const joined = hub.join("a", member);
      await settle();
      rig.message("a", "early");
      expect(member.heard).to.deep.equal(["early"]);
      acknowledged.resolve();
      await joined;
    });

    it("leaves nothing behind when it is refused", async () => {
      connection.answer = () => Promise.reject(noperm());
      const members = Array.from({ length: 20 }, () => new Member());
      const faults = await Promise.all(members.map((member) => faultOf(hub.join("a", member))));
      expect(faults.map(({ code }) => code)).to.deep.equal(Array(20).fill("SUBSCRIBE_REFUSED"));
      expect(hub.channels).to.deep.equal([]);
      expect(clock.pending, "a refused channel does not linger").to.equal(0);
      rig.message("a", "x");
      expect(members.flatMap(({ heard }) => heard)).to.deep.equal([]);
      expect(members.every((member) => !hub.leave("a", member))).to.equal(true);
    });

    it("keeps those who joined while another's refusal was being told", async () => {
      connection.answer = () => Promise.reject(noperm());
      const late = new Member();
      await hub.join("a", new Member()).catch(() => {
        connection.answer = () => Promise.resolve();
        return hub.join("a", late);
      });
      rig.message("a", "x");
      expect(late.heard).to.deep.equal(["x"]);
    });

    it("belongs to who joined last: an earlier join that fails takes nothing away", async () => {
      const acknowledged = deferred();
      connection.answer = () => acknowledged.promise;
      const member = new Member();
      const first = faultOf(hub.join("a", member));
      await settle();
      hub.leave("a", member);
      clock.advance(LINGER_MS); // the first join has failed by now, and the member does not know yet
      const second = hub.join("a", member);
      expect(await first).to.include({ code: "ABORTED" });
      acknowledged.resolve();
      await second;
      rig.message("a", "x");
      expect(member.heard).to.deep.equal(["x"]);
    });

    it("rejects when the member left before the acknowledgement and nobody else is there", async () => {
      const acknowledged = deferred();
      connection.answer = () => acknowledged.promise;
      const member = new Member();
      const fault = faultOf(hub.join("a", member));
      await settle();
      hub.leave("a", member);
      clock.advance(LINGER_MS);
      expect(await fault).to.include({ code: "ABORTED" });
      connection.answer = () => Promise.resolve();
      acknowledged.resolve();
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a", "unsubscribe a"]);
    });

    it("rejects when the connection cannot be made, and leaves nothing behind", async () => {
      rig.onConnect = () => {
        throw new RedisSseError("CLOSED", "this service is closed");
      };
      expect(await faultOf(hub.join("a", new Member()))).to.include({ code: "CLOSED" });
      expect(hub.channels).to.deep.equal([]);
    });
  });

  describe("leave()", () => {
    it("ends the member's events at once", async () => {
      const [first, second] = [await rig.member("a"), await rig.member("a")];
      expect(hub.leave("a", first)).to.equal(true);
      rig.message("a", "x");
      clock.advance(10 * LINGER_MS);
      await settle();
      rig.message("a", "y");
      expect(first.heard).to.deep.equal([]);
      expect(second.heard).to.deep.equal(["x", "y"]);
      expect(connection.log).to.deep.equal(["subscribe a"]);
    });

    it("keeps the channel subscribed for a while, in case somebody comes back", async () => {
      const member = await rig.member("a");
      hub.leave("a", member);
      expect(hub.channels).to.deep.equal([]);
      clock.advance(LINGER_MS - 1);
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a"]);
      await hub.join("a", member);
      clock.advance(10 * LINGER_MS);
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a"]);
      rig.message("a", "x");
      expect(member.heard).to.deep.equal(["x"]);
    });

    it("unsubscribes once nobody came back, and holds nothing any more", async () => {
      const member = await rig.member("a");
      hub.leave("a", member);
      clock.advance(LINGER_MS);
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a", "unsubscribe a"]);
      expect(hub.statistics).to.include({ channels: 0, subscribed: 0 });
      expect(clock.pending).to.equal(0);
    });

    it("does not read a message that came for nobody", async () => {
      const member = await rig.member("a");
      hub.leave("a", member);
      rig.message("a", "x");
      rig.message("b", "x");
      expect(rig.reads).to.deep.equal([]);
    });
  });

  describe("messages that are gathered", () => {
    // Whatever happens behind them happens behind them, and nothing is held back meanwhile.
    const ENDS: Readonly<Record<string, (member: Member) => unknown>> = {
      "leaves the channel": (member) => hub.leave("a", member),
      "leaves all": (member) => hub.leaveAll(member),
      "joins another": (member) => hub.join("b", member),
      "sees another join": () => hub.join("a", new Member()),
      "loses its connection": () => connection.lose(),
      "is told that more may be missing": () => [...hub.watchedLogs()][0]!.missed(),
      "hears the hub close": () => hub.close(),
      "flushes it": () => hub.flush(),
    };
    for (const [what, end] of Object.entries(ENDS)) {
      it(`reach a member before it ${what} in the same turn, and once`, async () => {
        const member = await rig.member("a");
        rig.say("a", "1");
        const gaps: number[] = [];
        member.onDeliver = () => gaps.push(member.gaps.length);
        const ended = end(member);
        expect(member.heard).to.deep.equal(["1"]);
        expect(gaps, "before it is told of a gap").to.deep.equal([0]);
        await Promise.resolve(ended);
        await settle();
        expect(member.heard).to.deep.equal(["1"]);
      });
    }

    it("are not given to who joins behind them, and are to who was there", async () => {
      const [early, late] = [new Member(), new Member()];
      await hub.join("a", early);
      rig.say("a", "1");
      const joined = hub.join("a", late);
      rig.say("a", "2");
      await joined;
      await settle();
      expect([early.heard, late.heard]).to.deep.equal([["1", "2"], ["2"]]);
    });
  });

  describe("a lost connection", () => {
    it("is told to each member once, with all its channels, when it is back", async () => {
      const [both, one] = [await rig.member("a", "b"), await rig.member("b")];
      connection.lose();
      await settle();
      expect(both.gaps).to.deep.equal([]);
      connection.restore();
      await settle();
      expect(both.gaps.map((names) => names.toSorted())).to.deep.equal([["a", "b"]]);
      expect(one.gaps).to.deep.equal([["b"]]);
      expect([...connection.server]).to.have.members(["a", "b"]);
    });

    it("is told with whether messages had come that are in no log, for as long as anybody listens", async () => {
      const member = await rig.member("plain", "logged", "both", "silent");
      rig.message("plain", "x");
      for (const text of ["at 1", "at 2"]) rig.message("logged", text);
      for (const text of ["at 1", "x", "at 2"]) rig.message("both", text);
      const told = { plain: true, logged: false, both: true, silent: false };
      for (let losses = 1; losses <= 2; losses++) {
        connection.lose();
        connection.restore();
        await settle();
        expect(member.unlogged).to.deep.equal(Array.from({ length: losses }, () => told));
      }
      hub.leave("plain", member);
      await hub.join("plain", member);
      connection.lose();
      connection.restore();
      await settle();
      expect(member.unlogged.at(-1)).to.deep.equal({ ...told, plain: false });
    });

    it("is told to the others though a member throws", async () => {
      const members = [await rig.member("a"), await rig.member("a")];
      members[0]!.onInterrupted = fail;
      connection.lose();
      connection.restore();
      await settle();
      expect(members[1]!.gaps).to.deep.equal([["a"]]);
    });

    it("is a gap for who was there, and none for who joins the same channel meanwhile", async () => {
      const [old, late] = [new Member(), new Member()];
      await hub.join("a", old);
      connection.lose();
      const joined = hub.join("a", late);
      connection.restore();
      await joined;
      await settle();
      expect(old.gaps).to.deep.equal([["a"]]);
      expect(late.gaps).to.deep.equal([]);
    });
  });

  describe("a channel that the server takes away", () => {
    it("is told to each of its members, who have left it by then", async () => {
      const members = [await rig.member("a"), await rig.member("a", "b"), await rig.member("a")];
      members[0]!.onRefused = fail;
      let wasThere: boolean | null = null;
      members[1]!.onRefused = () => (wasThere = hub.leave("a", members[1]!));
      connection.lose();
      connection.answer = refusing("a");
      connection.restore();
      await settle();
      expect(members.map(({ refusals }) => refusals)).to.deep.equal([
        [["a", "SUBSCRIBE_REFUSED"]],
        [["a", "SUBSCRIBE_REFUSED"]],
        [["a", "SUBSCRIBE_REFUSED"]],
      ]);
      expect(wasThere).to.equal(false);
      expect(hub.channels).to.deep.equal(["b"]);
      expect(members[1]!.gaps).to.deep.equal([["b"]]);
      expect(clock.pending).to.equal(0);
    });
  });

  it("keeps nothing of the channels and members that are gone, whether or not its connection is there", async () => {
    await rig.member("a");
    const before = heapUsed();
    for (let round = 0; round < 40; round++) {
      if (round % 2 === 0) connection.restore();
      else connection.lose();
      const members = Array.from({ length: 500 }, () => new Member());
      const joins = members.map((member, index) => hub.join(`c:${round}:${index}`, member).catch(() => {}));
      if (connection.ready) await Promise.all(joins);
      else await settle();
      members.forEach((member, index) => hub.leave(`c:${round}:${index}`, member));
      clock.advance(LINGER_MS);
      await settle();
      connection.log.length = 0;
    }
    expect(heapUsed() - before).to.be.lessThan(3_000_000);
    connection.restore();
    await settle();
    expect([...connection.server]).to.deep.equal(["a"]);
    expect(clock.pending).to.equal(0);
  });

  describe("close()", () => {
    it("unsubscribes what is held, lets go of the connection and sets no more timers", async () => {
      const [stays, left] = [new Member(), new Member()];
      await hub.join("a", stays);
      await hub.join("b", left);
      hub.leave("b", left);
      await hub.close();
      expect([...connection.server]).to.deep.equal([]);
      expect(connection.detached).to.equal(true);
      expect(clock.pending).to.equal(0);
      expect(hub.statistics).to.include({ connected: false, channels: 0, subscribed: 0 });
      rig.message("a", "x");
      expect(stays.heard).to.deep.equal([]);
    });

    it("refuses those who wait", async () => {
      connection.ready = false;
      const fault = faultOf(hub.join("a", new Member()));
      await hub.close();
      expect(await fault).to.include({ code: "CLOSED" });
    });

    it("waits for a server that does not answer no longer than its deadline", async () => {
      await rig.member("a");
      connection.answer = () => new Promise(() => {});
      const closed = hub.close();
      await settle();
      clock.advance(2_000);
      await closed;
      expect(connection.detached).to.equal(true);
    });

    it("makes no connection only to end it", async () => {
      await hub.close();
      expect(rig.connects).to.equal(0);
    });

    it("refuses who comes after it", async () => {
      await rig.member("a");
      const closed = hub.close();
      expect(await faultOf(hub.join("b", new Member()))).to.include({ code: "CLOSED" });
      await closed;
      expect(await faultOf(hub.join("b", new Member()))).to.include({ code: "CLOSED" });
      expect(rig.connects).to.equal(1);
      expect(hub.channels).to.deep.equal([]);
    });

    it("asks nothing of a connection that is away", async () => {
      await rig.member("a");
      connection.lose();
      connection.log.length = 0;
      await hub.close();
      expect(connection.log).to.deep.equal([]);
      expect(connection.detached).to.equal(true);
    });
  });

  it("tells how many channels it holds, and whether it is connected", async () => {
    expect(hub.statistics).to.deep.equal({
      connected: false,
      channels: 0,
      subscribed: 0,
      memberFaults: 0,
    });
    await rig.member("a");
    expect(hub.statistics).to.include({ connected: true, channels: 1, subscribed: 1 });
    connection.lose();
    expect(hub.statistics).to.include({ connected: false, channels: 1, subscribed: 0 });
  });
});

/** A server whose ACL denies one channel. */
function refusing(name: string): (channels: readonly string[]) => Promise<void> {
  return (channels) => (channels.includes(name) ? Promise.reject(noperm()) : Promise.resolve());
}

function noperm(): Error {
  return Object.assign(new Error("NOPERM No permissions to access a channel"), { name: "ReplyError" });
}

function faultOf(work: Promise<unknown>): Promise<RedisSseError> {
  return work.then(
    () => expect.fail("expected a rejection"),
    (error: unknown) => error as RedisSseError,
  );
}

function fail(): never {
  throw new Error("this member is broken");
}

function heapUsed(): number {
  setFlagsFromString("--expose_gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}
