import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import { encodeEvent } from "../../../lib/sse/frame.js";
import type { InboundEvent } from "../../../lib/events/inbound-event.js";
import type { EventBatch } from "../../../lib/events/event-batch.js";
import type { HubMember } from "../../../lib/subscriptions/fan-out.js";
import type { Interruption } from "../../../lib/replay/log-head.js";
import {
  SubscriptionHub,
  type HubConnection,
  type HubHandlers,
} from "../../../lib/subscriptions/subscription-hub.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";

const LINGER_MS = 500;

describe("SubscriptionHub", () => {
  let clock: FakeClock;
  let connection: FakeConnection;
  let connects: number;
  let reads: number;
  let hub: SubscriptionHub;

  beforeEach(() => {
    clock = new FakeClock();
    connection = new FakeConnection();
    connects = 0;
    reads = 0;
    hub = new SubscriptionHub({
      connect: (handlers) => {
        connects++;
        connection.handlers = handlers;
        return connection;
      },
      read: (channel, message) => {
        reads++;
        return message === "malformed" ? null : eventOf(channel, message);
      },
      now: () => 0,
      clock,
      lingerMs: LINGER_MS,
      closeTimeoutMs: 2_000,
    });
    connection.onTurn = () => hub.flush();
  });

  it("connects with the first join, and once", async () => {
    expect(connects).to.equal(0);
    await hub.join("a", new Member());
    await hub.join("b", new Member());
    expect(connects).to.equal(1);
  });

  describe("join()", () => {
    it("subscribes once for all members of a channel", async () => {
      const members = [new Member(), new Member(), new Member()];
      await Promise.all(members.map((member) => hub.join("a", member)));
      await hub.join("a", new Member());
      expect(connection.log).to.deep.equal(["subscribe a"]);
      expect(hub.channels).to.deep.equal(["a"]);
    });

    it("has the member in place before the subscription is acknowledged", async () => {
      const member = new Member();
      const acknowledged = deferred();
      connection.answer = () => acknowledged.promise;
      const joined = hub.join("a", member);
      await settle();
      connection.message("a", "early");
      expect(member.heard).to.deep.equal(["a early"]);
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
      connection.message("a", "x");
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
      connection.message("a", "x");
      expect(late.heard).to.deep.equal(["a x"]);
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
      connection.message("a", "x");
      expect(member.heard).to.deep.equal(["a x"]);
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
      const broken = new SubscriptionHub({
        connect: () => {
          throw new RedisSseError("CLOSED", "this service is closed");
        },
        read: eventOf,
        now: () => 0,
        clock,
        lingerMs: LINGER_MS,
        closeTimeoutMs: 2_000,
      });
      expect(await faultOf(broken.join("a", new Member()))).to.include({ code: "CLOSED" });
      expect(broken.channels).to.deep.equal([]);
    });
  });

  describe("leave()", () => {
    it("ends the member's events at once", async () => {
      const [first, second] = [new Member(), new Member()];
      await hub.join("a", first);
      await hub.join("a", second);
      expect(hub.leave("a", first)).to.equal(true);
      connection.message("a", "x");
      clock.advance(10 * LINGER_MS);
      await settle();
      connection.message("a", "y");
      expect(first.heard).to.deep.equal([]);
      expect(second.heard).to.deep.equal(["a x", "a y"]);
      expect(connection.log).to.deep.equal(["subscribe a"]);
    });

    it("keeps the channel subscribed for a while, in case somebody comes back", async () => {
      const member = new Member();
      await hub.join("a", member);
      hub.leave("a", member);
      expect(hub.channels).to.deep.equal([]);
      clock.advance(LINGER_MS - 1);
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a"]);
      await hub.join("a", member);
      clock.advance(10 * LINGER_MS);
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a"]);
      connection.message("a", "x");
      expect(member.heard).to.deep.equal(["a x"]);
    });

    it("unsubscribes once nobody came back, and holds nothing any more", async () => {
      const member = new Member();
      await hub.join("a", member);
      hub.leave("a", member);
      clock.advance(LINGER_MS);
      await settle();
      expect(connection.log).to.deep.equal(["subscribe a", "unsubscribe a"]);
      expect(hub.statistics).to.include({ channels: 0, subscribed: 0 });
      expect(clock.pending).to.equal(0);
    });

    it("does not read a message that came for nobody", async () => {
      const member = new Member();
      await hub.join("a", member);
      hub.leave("a", member);
      connection.message("a", "x");
      connection.message("b", "x");
      expect(reads).to.equal(0);
    });
  });

  describe("a message", () => {
    it("is read once, and reaches every member of its channel and no other", async () => {
      const [first, second, other] = [new Member(), new Member(), new Member()];
      await hub.join("a", first);
      await hub.join("a", second);
      await hub.join("b", other);
      connection.message("a", "x");
      expect(reads).to.equal(1);
      expect([first.heard, second.heard, other.heard]).to.deep.equal([["a x"], ["a x"], []]);
      expect(first.events[0]).to.equal(second.events[0]);
    });

    it("that is malformed is dropped and counted", async () => {
      const member = new Member();
      await hub.join("a", member);
      connection.message("a", "malformed");
      connection.message("a", "x");
      expect(member.heard).to.deep.equal(["a x"]);
      expect(hub.statistics.dropped).to.equal(1);
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
        const member = new Member();
        await hub.join("a", member);
        connection.handlers!.onMessage("a", "1");
        const gaps: number[] = [];
        member.onDeliver = () => gaps.push(member.gaps.length);
        const ended = end(member);
        expect(member.heard).to.deep.equal(["a 1"]);
        expect(gaps, "before it is told of a gap").to.deep.equal([0]);
        await Promise.resolve(ended);
        await settle();
        expect(member.heard).to.deep.equal(["a 1"]);
      });
    }

    it("are not given to who joins behind them, and are to who was there", async () => {
      const [early, late] = [new Member(), new Member()];
      await hub.join("a", early);
      connection.handlers!.onMessage("a", "1");
      const joined = hub.join("a", late);
      connection.handlers!.onMessage("a", "2");
      await joined;
      await settle();
      expect([early.heard, late.heard]).to.deep.equal([["a 1", "a 2"], ["a 2"]]);
    });

    it("come as one batch again to a member that has but one channel left", async () => {
      const member = new Member();
      const say = async (): Promise<readonly string[]> => {
        const { length } = member.batches;
        for (const text of ["a1", "b1", "a2"]) connection.handlers!.onMessage(text[0]!, text);
        await settle(1);
        return member.batches.slice(length).map(({ events }) => events.map(({ data }) => data).join(" "));
      };
      await hub.join("a", member);
      await hub.join("b", new Member());
      expect(await say()).to.deep.equal(["a1 a2"]);
      await hub.join("b", member);
      expect(await say()).to.deep.equal(["a1", "b1", "a2"]);
      hub.leave("a", member);
      expect(await say()).to.deep.equal(["b1"]);
      await hub.join("a", member);
      expect(await say()).to.deep.equal(["a1", "b1", "a2"]);
      hub.leave("b", member);
      expect(await say()).to.deep.equal(["a1 a2"]);
      expect(member.corks).to.deep.equal(["cork", "uncork", "cork", "uncork"]);
    });
  });

  describe("a lost connection", () => {
    it("is told to each member once, with all its channels, when it is back", async () => {
      const [both, one] = [new Member(), new Member()];
      await hub.join("a", both);
      await hub.join("b", both);
      await hub.join("b", one);
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
      const member = new Member();
      for (const name of ["plain", "logged", "both", "silent"]) await hub.join(name, member);
      connection.message("plain", "x");
      for (const text of ["at 1", "at 2"]) connection.message("logged", text);
      for (const text of ["at 1", "x", "at 2"]) connection.message("both", text);
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
      const members = [new ThrowingMember(), new Member()];
      for (const member of members) await hub.join("a", member);
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
      const members = [new ThrowingMember(), new Member(), new Member()];
      for (const member of members) await hub.join("a", member);
      await hub.join("b", members[1]!);
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

    it("is told to who listened before, also when somebody joins as it is refused", async () => {
      const [live, joining] = [new Member(), new Member()];
      await hub.join("a", live);
      connection.lose();
      const fault = faultOf(hub.join("a", joining));
      connection.answer = refusing("a");
      connection.restore();
      expect(await fault).to.include({ code: "SUBSCRIBE_REFUSED" });
      await settle();
      expect(live.refusals).to.deep.equal([["a", "SUBSCRIBE_REFUSED"]]);
      expect(joining.refusals, "who joins is told by the join alone").to.deep.equal([]);
      expect(hub.channels).to.deep.equal([]);
    });
  });

  it("keeps nothing of the channels and members that are gone, whether or not its connection is there", async () => {
    await hub.join("a", new Member());
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
      connection.message("a", "x");
      expect(stays.heard).to.deep.equal([]);
    });

    it("refuses those who wait", async () => {
      connection.ready = false;
      const fault = faultOf(hub.join("a", new Member()));
      await hub.close();
      expect(await fault).to.include({ code: "CLOSED" });
    });

    it("waits for a server that does not answer no longer than its deadline", async () => {
      await hub.join("a", new Member());
      connection.answer = () => new Promise(() => {});
      const closed = hub.close();
      await settle();
      clock.advance(2_000);
      await closed;
      expect(connection.detached).to.equal(true);
    });

    it("makes no connection only to end it", async () => {
      await hub.close();
      expect(connects).to.equal(0);
    });

    it("refuses who comes after it", async () => {
      await hub.join("a", new Member());
      const closed = hub.close();
      expect(await faultOf(hub.join("b", new Member()))).to.include({ code: "CLOSED" });
      await closed;
      expect(await faultOf(hub.join("b", new Member()))).to.include({ code: "CLOSED" });
      expect(connects).to.equal(1);
      expect(hub.channels).to.deep.equal([]);
    });

    it("asks nothing of a connection that is away", async () => {
      await hub.join("a", new Member());
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
      dropped: 0,
      memberFaults: 0,
    });
    await hub.join("a", new Member());
    expect(hub.statistics).to.include({ connected: true, channels: 1, subscribed: 1 });
    connection.lose();
    expect(hub.statistics).to.include({ connected: false, channels: 1, subscribed: 0 });
  });
});

function heapUsed(): number {
  setFlagsFromString("--expose_gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}

class FakeConnection implements HubConnection {
  ready = true;
  detached = false;
  handlers: HubHandlers | null = null;
  onTurn: () => void = () => {};
  readonly log: string[] = [];
  readonly server = new Set<string>();
  /** How the server answers a command. */
  answer: (channels: readonly string[]) => Promise<void> = () => Promise.resolve();

  isReady(): boolean {
    return this.ready;
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    this.log.push(`subscribe ${channels.join(" ")}`);
    await this.answer(channels);
    for (const name of channels) this.server.add(name);
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    this.log.push(`unsubscribe ${channels.join(" ")}`);
    await this.answer(channels);
    for (const name of channels) this.server.delete(name);
  }

  detach(): void {
    this.detached = true;
  }

  /** A message comes, and the turn ends. */
  message(channel: string, message: string): void {
    this.handlers!.onMessage(channel, message);
    this.onTurn();
  }

  lose(): void {
    this.ready = false;
    this.server.clear();
    this.handlers!.onDown();
  }

  restore(): void {
    this.ready = true;
    this.handlers!.onReady();
  }
}

class Member implements HubMember {
  readonly events: InboundEvent[] = [];
  readonly batches: EventBatch[] = [];
  readonly corks: string[] = [];
  readonly gaps: (readonly string[])[] = [];
  /** With each gap, by channel. */
  readonly unlogged: Readonly<Record<string, boolean>>[] = [];
  readonly refusals: [channel: string, code: string][] = [];
  onDeliver: () => void = () => {};
  onRefused: () => void = () => {};

  get heard(): readonly string[] {
    return this.events.map(({ channel, data }) => `${channel} ${data}`);
  }

  deliver(batch: EventBatch): void {
    this.batches.push(batch);
    this.events.push(...batch.events);
    this.onDeliver();
  }

  cork(): void {
    this.corks.push("cork");
  }

  uncork(): void {
    this.corks.push("uncork");
  }

  interrupted(interruptions: readonly Interruption[]): void {
    const channels = interruptions.map(({ channel }) => channel);
    this.gaps.push(channels);
    this.unlogged.push(Object.fromEntries(interruptions.map(({ channel, unlogged }) => [channel, unlogged])));
  }

  refused(channel: string, fault: RedisSseError): void {
    this.refusals.push([channel, fault.code]);
    this.onRefused();
  }
}

class ThrowingMember extends Member {
  override deliver(): void {
    throw new Error("this member is broken");
  }

  override interrupted(): void {
    throw new Error("this member is broken");
  }

  override refused(channel: string, fault: RedisSseError): void {
    super.refused(channel, fault);
    throw new Error("this member is broken");
  }
}

/** "at 5" has that place in its channel's log; everything else has none. */
function eventOf(channel: string, data: string): InboundEvent {
  const offset = Number(/^at (\d+)$/.exec(data)?.[1] ?? 0);
  const place = offset > 0 && { position: { epoch: "0123abcd", offset } };
  return { channel, event: undefined, data, frame: encodeEvent({ data }), ...place };
}

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
