import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import type { SubscriptionHub } from "../../../lib/subscriptions/subscription-hub.js";
import { deferred, settle } from "../../support/eventually.js";
import type { FakeClock } from "../../support/fake-clock.js";
import { heapUsed } from "../../support/memory.js";
import { faultOf } from "../../support/service.js";
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

  it("connects once, at the first join", async () => {
    expect(rig.connects).to.equal(0);
    await rig.member("a");
    await rig.member("b");
    expect(rig.connects).to.equal(1);
  });

  describe("join()", () => {
    it("subscribes once for all members of a channel", async () => {
      const members = [new Member(), new Member(), new Member()];
      await Promise.all(members.map((member) => Promise.resolve(hub.join("a", member))));
      await rig.member("a");
      expect(connection.log).to.deep.equal(["subscribe a"]);
      expect(hub.channels).to.deep.equal(["a"]);
    });

    it("delivers events to the member before the subscription is acknowledged", async () => {
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

    it("leaves nothing behind if SUBSCRIBE is denied", async () => {
      connection.answer = () => Promise.reject(noperm());
      const members = Array.from({ length: 20 }, () => new Member());
      const faults = await Promise.all(
        members.map((member) => faultOf(Promise.resolve(hub.join("a", member)))),
      );
      expect(faults.map((fault) => (fault as RedisSseError).code)).to.deep.equal(
        Array(20).fill("SUBSCRIBE_REFUSED"),
      );
      expect(hub.channels).to.deep.equal([]);
      expect(clock.pending, "a denied channel does not linger").to.equal(0);
      rig.message("a", "x");
      expect(members.flatMap(({ heard }) => heard)).to.deep.equal([]);
      expect(members.every((member) => !hub.leave("a", member))).to.equal(true);
    });

    it("keeps a member that joins while another member's rejection is handled", async () => {
      connection.answer = () => Promise.reject(noperm());
      const late = new Member();
      await Promise.resolve(hub.join("a", new Member())).catch(() => {
        connection.answer = () => Promise.resolve();
        return hub.join("a", late);
      });
      rig.message("a", "x");
      expect(late.heard).to.deep.equal(["x"]);
    });

    it("does not undo a newer join of the member if its earlier join fails", async () => {
      const acknowledged = deferred();
      connection.answer = () => acknowledged.promise;
      const member = new Member();
      const first = faultOf(Promise.resolve(hub.join("a", member)));
      await settle();
      hub.leave("a", member);
      clock.advance(LINGER_MS); // The first join has failed, but its promise has not continued yet.
      const second = hub.join("a", member);
      expect(await first).to.include({ code: "ABORTED" });
      acknowledged.resolve();
      await second;
      rig.message("a", "x");
      expect(member.heard).to.deep.equal(["x"]);
    });

    it("rejects if the only member leaves before the acknowledgement", async () => {
      const acknowledged = deferred();
      connection.answer = () => acknowledged.promise;
      const member = new Member();
      const fault = faultOf(Promise.resolve(hub.join("a", member)));
      await settle();
      hub.leave("a", member);
      clock.advance(LINGER_MS);
      expect(await fault).to.include({ code: "ABORTED" });
      connection.answer = () => Promise.resolve();
      acknowledged.resolve();
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a", "unsubscribe a"]);
    });

    it("rejects if the connection cannot be created, and leaves nothing behind", async () => {
      rig.onConnect = () => {
        throw new RedisSseError("CLOSED", "this service is closed");
      };
      expect(await faultOf(Promise.resolve(hub.join("a", new Member())))).to.include({ code: "CLOSED" });
      expect(hub.channels).to.deep.equal([]);
    });
  });

  describe("leave()", () => {
    it("stops the member's events at once", async () => {
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

    it("keeps the channel subscribed for lingerMs in case a member joins again", async () => {
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

    it("unsubscribes after lingerMs and leaves nothing behind", async () => {
      const member = await rig.member("a");
      hub.leave("a", member);
      clock.advance(LINGER_MS);
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a", "unsubscribe a"]);
      expect(hub.statistics).to.include({ channels: 0, subscribed: 0 });
      expect(clock.pending).to.equal(0);
    });

    it("does not read a message for a channel without members", async () => {
      const member = await rig.member("a");
      hub.leave("a", member);
      rig.message("a", "x");
      rig.message("b", "x");
      expect(rig.reads).to.deep.equal([]);
    });
  });

  describe("events of the current tick", () => {
    // Events that arrived before a change are delivered before it.
    const ENDS: Readonly<Record<string, (member: Member) => unknown>> = {
      "leaves the channel": (member) => hub.leave("a", member),
      "leaves all channels": (member) => hub.leaveAll(member),
      "joins another channel": (member) => hub.join("b", member),
      "sees another member join": () => hub.join("a", new Member()),
      "loses its connection": () => connection.lose(),
      "may miss events": () => [...hub.watchedLogs()][0]!.missed(),
      "sees the hub close": () => hub.close(),
      "flushes the hub": () => hub.flush(),
    };
    for (const [what, end] of Object.entries(ENDS)) {
      it(`reach a member once, before it ${what} in the same tick`, async () => {
        const member = await rig.member("a");
        rig.say("a", "1");
        const gaps: number[] = [];
        member.onDeliver = () => gaps.push(member.gaps.length);
        const ended = end(member);
        expect(member.heard).to.deep.equal(["1"]);
        expect(gaps, "before the gap").to.deep.equal([0]);
        await Promise.resolve(ended);
        await settle();
        expect(member.heard).to.deep.equal(["1"]);
      });
    }

    it("reach only the members that joined before them", async () => {
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

  describe("lost connection", () => {
    it("is reported once to each member with all its channels, after the reconnect", async () => {
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

    it("is reported with whether the channel had events without a position since its first member joined", async () => {
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

    it("is reported to the others even if a member throws", async () => {
      const members = [await rig.member("a"), await rig.member("a")];
      members[0]!.onInterrupted = fail;
      connection.lose();
      connection.restore();
      await settle();
      expect(members[1]!.gaps).to.deep.equal([["a"]]);
    });

    it("is a gap for earlier members, but not for a member that joins while it is down", async () => {
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

  describe("channel that is denied after a reconnect", () => {
    it("is reported to each of its members after they have left it", async () => {
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

  it("frees the memory of channels and members that are gone, with and without a connection", async () => {
    await rig.member("a");
    const before = heapUsed();
    for (let round = 0; round < 40; round++) {
      if (round % 2 === 0) connection.restore();
      else connection.lose();
      const members = Array.from({ length: 500 }, () => new Member());
      const joins = members.map((member, index) =>
        Promise.resolve(hub.join(`c:${round}:${index}`, member)).catch(() => {}),
      );
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
    it("unsubscribes all channels, detaches the connection and leaves no timer", async () => {
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

    it("rejects waiting callers", async () => {
      connection.ready = false;
      const fault = faultOf(Promise.resolve(hub.join("a", new Member())));
      await hub.close();
      expect(await fault).to.include({ code: "CLOSED" });
    });

    it("waits at most closeTimeoutMs for a server that does not answer", async () => {
      await rig.member("a");
      connection.answer = () => new Promise(() => {});
      const closed = hub.close();
      await settle();
      clock.advance(2_000);
      await closed;
      expect(connection.detached).to.equal(true);
    });

    it("does not create a connection", async () => {
      await hub.close();
      expect(rig.connects).to.equal(0);
    });

    it("rejects later joins", async () => {
      await rig.member("a");
      const closed = hub.close();
      expect(await faultOf(Promise.resolve(hub.join("b", new Member())))).to.include({ code: "CLOSED" });
      await closed;
      expect(await faultOf(Promise.resolve(hub.join("b", new Member())))).to.include({ code: "CLOSED" });
      expect(rig.connects).to.equal(1);
      expect(hub.channels).to.deep.equal([]);
    });

    it("sends no command on a lost connection", async () => {
      await rig.member("a");
      connection.lose();
      connection.log.length = 0;
      await hub.close();
      expect(connection.log).to.deep.equal([]);
      expect(connection.detached).to.equal(true);
    });
  });

  it("reports the number of channels and whether it is connected", async () => {
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

/** Returns the answers of a server whose ACL denies one channel. */
function refusing(name: string): (channels: readonly string[]) => Promise<void> {
  return (channels) => (channels.includes(name) ? Promise.reject(noperm()) : Promise.resolve());
}

function noperm(): Error {
  return Object.assign(new Error("NOPERM No permissions to access a channel"), { name: "ReplyError" });
}

function fail(): never {
  throw new Error("this member is broken");
}
