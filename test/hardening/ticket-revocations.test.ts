import { expect } from "chai";

import {
  type PubSubSession,
  type RedisSse,
  type RevocationTarget,
  type StreamAccess,
  type TicketOptions,
} from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import type { FakeSink } from "../support/fake-sink.js";
import { describeFaults } from "../support/fault-rig.js";
import { hastyClock } from "../support/hasty-clock.js";
import { expectFault, faultOf } from "../support/service.js";

interface Visit {
  readonly sink: FakeSink;
  readonly session: PubSubSession;
  /** The id that an EventSource sends when it reconnects. */
  readonly id: string;
}

const TARGETS: readonly RevocationTarget[] = [{ key: "ann" }, { channel: "b" }];

describeFaults("revoked tickets in a real Redis", (rig) => {
  const issue = (sse: RedisSse, options: Partial<TicketOptions> = {}): Promise<string> =>
    sse.tickets.issue({ channels: ["a", "b"], key: "ann", ...options });

  async function enter(sse: RedisSse, access: StreamAccess, key?: string): Promise<Visit> {
    const sink = rig.sink();
    const session = await sse.open({ key }, sink, access);
    return { sink, session, id: /\nid: (.*)\n/.exec(sink.text)?.[1] ?? "" };
  }

  const visit = async (sse: RedisSse, ticket: string, lastEventId?: string): Promise<Visit> =>
    enter(sse, await sse.tickets.access(ticket, { lastEventId }));

  async function expectInvalid(sse: RedisSse, ticket: string, lastEventId?: string): Promise<void> {
    expectFault(await faultOf(sse.tickets.access(ticket, { lastEventId })), "TICKET_INVALID");
  }

  async function leave({ sink, session }: Visit): Promise<void> {
    sink.leave();
    await session.closed;
  }

  async function expectHearing(...sinks: readonly FakeSink[]): Promise<void> {
    expect(sinks.every(({ ended }) => !ended)).to.equal(true);
    await eventually(async () => expect(await rig.server.receiversOf("sse:revocations")).to.equal(1));
  }

  const textOf = async (): Promise<string> => {
    const [key] = await rig.server.admin.keys("sse:ticket:*");
    return (await rig.server.admin.get(key!))!;
  };
  const newest = async (): Promise<string> => {
    const [[id] = [""]] = await rig.server.admin.xrevrange("sse:revocations", "+", "-", "COUNT", 1);
    return id.split("-")[0]!;
  };

  const now = async (): Promise<number> => Number((await rig.server.admin.time())[0]) * 1_000;
  /** Waits until Redis' clock is later than this time by more than the time of a reply. */
  const timePasses = (from: number): Promise<void> =>
    eventually(async () => void expect((await now()) - from).to.be.above(1_000));

  it("are not issued if the right is revoked during the call", async () => {
    const proxy = await rig.proxy();
    const [away, other] = [rig.connect({ redis: proxy.url }), rig.connect()];
    await issue(away);
    proxy.hold();
    const issuing = [issue(away), issue(away, { key: "bob" })].map((each) => faultOf(each));
    const allowed = issue(away, { key: "bob", channels: "c" });
    await timePasses(await now());
    await other.revoke({ key: "ann" });
    await other.revoke({ channel: "b" });
    proxy.release();
    for (const fault of await Promise.all(issuing)) expectFault(fault, "CLOSED");
    await visit(other, await allowed);
    await visit(other, await issue(away));
  });

  it("do not count if they are older than the call of the resolver that reads them", async () => {
    await rig.connect().revoke({ key: "ann" });
    const ticket = await issue(rig.connect());
    await timePasses(Number(await newest()));
    const sse = rig.connect();
    const sink = rig.sink();
    const resolved = await sse.resolve({}, sink, () => sse.tickets.access(ticket));
    expect(await sse.open({}, sink, resolved!.value)).to.have.property("state", "subscribed");
  });

  for (const target of TARGETS) {
    const [kind] = Object.keys(target);

    it(`open no stream if they were issued before the call, also in a process without streams: ${kind}`, async () => {
      const [one, other] = [rig.connect(), rig.connect()];
      const unused = await issue(one);
      const used = await issue(one);
      const first = await visit(one, used);
      await leave(first);
      const foreign = await issue(one, { key: "bob", channels: "c" });
      expect(await other.revoke(target)).to.equal(0);
      for (const sse of [rig.connect(), one, other]) {
        await expectInvalid(sse, unused);
        await expectInvalid(sse, used, first.id);
        await sse.tickets.access(foreign);
      }
      for (const issuer of [one, other, rig.connect()]) {
        const later = await visit(rig.connect(), await issue(issuer));
        await leave(later);
      }
    });

    it(`open no stream in another process while the process of their stream is disconnected: ${kind}`, async () => {
      const proxy = await rig.proxy();
      const [away, other] = [rig.connect({ redis: proxy.url }), rig.connect()];
      const ticket = await issue(other);
      const { sink, id } = await visit(away, ticket);
      await expectHearing(sink);
      proxy.refuse(true);
      proxy.cut();
      await eventually(async () => expect(await rig.server.receiversOf("sse:revocations")).to.equal(0));
      await other.revoke(target);
      await expectInvalid(rig.connect(), ticket, id);
      proxy.refuse(false);
      await eventually(() => expect(sink.text).to.include('{"reason":"revoked"}'));
      await eventually(async () => expect(await rig.server.admin.keys("sse:ticket:*")).to.deep.equal([]));
    });
  }

  it("open no stream if the key of the mount was revoked", async () => {
    const [one, other] = [rig.connect(), rig.connect()];
    const ticket = await issue(one, { key: null });
    await other.revoke({ key: "ann" });
    expectFault(await faultOf(enter(one, await one.tickets.access(ticket), "ann")), "TICKET_INVALID");
    await enter(other, await other.tickets.access(ticket), "bob");
  });

  it("open no stream if they are revoked between access() and open()", async () => {
    const [one, other] = [rig.connect(), rig.connect()];
    const { sink } = await visit(one, await issue(one, { key: "bob", channels: "c" }));
    await expectHearing(sink);
    const access = await one.tickets.access(await issue(one));
    await other.revoke({ key: "ann" });
    await eventually(async () => expect((await one.status()).revocations.applied).to.equal(1));
    expectFault(await faultOf(enter(one, access)), "TICKET_INVALID");
    // This process hears of the revocation after it has opened the stream.
    const young = rig.connect();
    const late = await young.tickets.access(await issue(one));
    await other.revoke({ key: "ann" });
    // A stream that opens in the first milliseconds after a revocation ends in any case.
    const storedAt = Number(await newest());
    await eventually(() => expect(Date.now()).to.be.greaterThan(storedAt + 50));
    const ended = await enter(young, late);
    await eventually(() => expect(ended.session.closeReason).to.equal("revoked"));
    await eventually(() => expect(ended.sink.ended).to.equal(true));
  });

  it("are compared again only with later revocations, so that old ones can be forgotten", async () => {
    const sse = rig.connect({ clock: hastyClock });
    const ticket = await issue(sse);
    const first = await visit(sse, ticket);
    expect(await textOf()).to.match(/^0 /);
    await expectHearing(first.sink);
    await sse.revoke({ key: "bob" });
    await eventually(async () => expect((await textOf()).split(" ")[0]).to.equal(await newest()));
    await leave(first);
    await rig.connect().revoke({ key: "bob" });
    const second = await visit(sse, ticket, first.id);
    expect((await textOf()).split(" ")[0]).to.equal(await newest());
    await sse.revoke({ key: "ann" });
    await eventually(() => expect(second.sink.text).to.include('{"reason":"revoked"}'));
    await eventually(async () => expect(await rig.server.admin.keys("sse:ticket:*")).to.deep.equal([]));
  });

  it("stay valid when Redis has deleted all revocations because of their age", async () => {
    const sse = rig.connect();
    await sse.revoke({ key: "bob" });
    const ticket = await issue(sse);
    await rig.server.admin.del("sse:revocations");
    const first = await visit(sse, ticket);
    await leave(first);
    await rig.connect().revoke({ key: "bob" });
    await leave(await visit(rig.connect(), ticket, first.id));
    await rig.connect().revoke({ key: "ann" });
    await expectInvalid(rig.connect(), ticket, first.id);
  });

  it("are refused if Redis has lost the revocations that were known when they were issued", async () => {
    const sse = rig.connect();
    await sse.revoke({ key: "bob" });
    const ticket = await issue(sse);
    await rig.server.admin.del("sse:revocations");
    await rig.server.admin.xadd("sse:revocations", "5", "r", `5 0 call caller ["key","ann"]`);
    await expectInvalid(rig.connect(), ticket);
    await expectInvalid(sse, ticket);
    await visit(sse, await issue(sse));
  });

  it("are refused if Redis has deleted revocations that came after them; newer tickets are accepted", async () => {
    const sse = rig.connect();
    const early = await issue(sse);
    const { admin } = rig.server;
    const fill = async (): Promise<void> => {
      const pipeline = admin.pipeline();
      for (let index = 0; index < 20_000; index++) {
        const revocation = `1 0 call caller ["key","user${index}"]`;
        pipeline.xadd("sse:revocations", "MAXLEN", "~", 10_000, `${index + 5}`, "r", revocation);
      }
      await pipeline.exec();
    };
    await fill();
    const late = await issue(sse);
    for (const each of [sse, rig.connect()]) {
      await expectInvalid(each, early);
      await each.tickets.access(late);
    }
  });

  it("add no command to a stream without a ticket", async () => {
    const sse = rig.connect({ history: false });
    const sink = rig.sink();
    await sse.open({}, sink, "a");
    await expectHearing(sink);
    const calls = await rig.server.callsOf("evalsha");
    for (let count = 0; count < 10; count++) await sse.open({ key: "ann" }, rig.sink(), "a");
    expect(await rig.server.callsOf("evalsha")).to.equal(calls);
  });
});
