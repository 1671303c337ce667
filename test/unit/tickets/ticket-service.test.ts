import { inspect } from "node:util";

import { expect } from "chai";
import * as fc from "fast-check";

import type { PubSubSession, StreamAccess, TicketOptions } from "../../../lib/index.js";
import { createTestSse, FakeClock, type TestSse, type TestSseOptions } from "../../../testing/index.js";
import { eventually } from "../../support/eventually.js";
import { FakeSink } from "../../support/fake-sink.js";
import { expectFault, faultOf } from "../../support/service.js";

describe("TicketService", () => {
  let clock: FakeClock;
  let sse: TestSse;

  beforeEach(() => create());
  afterEach(() => sse.close());

  function create(options: TestSseOptions = {}): void {
    clock = new FakeClock();
    sse = createTestSse({ clock, ...options });
  }

  async function recreate(options: TestSseOptions): Promise<void> {
    await sse.close();
    create(options);
  }

  const issue = (options: Partial<TicketOptions> = {}): Promise<string> =>
    sse.tickets.issue({ channels: "a", ...options });

  interface Visit {
    readonly session: PubSubSession;
    readonly sink: FakeSink;
    /** The id that an EventSource sends when it reconnects. */
    readonly id: string;
  }

  /** Opens a stream with the answer of a resolver. */
  async function enter(access: StreamAccess, lastEventId?: string): Promise<Visit> {
    const sink = new FakeSink();
    const session = await sse.open({ lastEventId }, sink, access);
    return { session, sink, id: /\nid: (.*)\n/.exec(sink.text)?.[1] ?? "" };
  }

  async function visit(ticket: string, lastEventId?: string): Promise<Visit> {
    return enter(await sse.tickets.access(ticket, { lastEventId }), lastEventId);
  }

  async function expectInvalid(ticket: string, lastEventId?: string): Promise<void> {
    expectFault(await faultOf(sse.tickets.access(ticket, { lastEventId })), "TICKET_INVALID");
  }

  async function leave({ sink, session }: Visit): Promise<void> {
    sink.leave();
    await session.closed;
    await clock.advance(0);
  }

  const keys = (): Promise<string[]> => sse.redis.createClient().keys("sse:ticket:*");
  const ttl = async (): Promise<number> => sse.redis.createClient().pttl((await keys())[0]!);
  const tokenOf = (id: string): string => id.slice(id.indexOf("~") + 1);

  describe("issue()", () => {
    it("returns a random text, and stores only hashes", async () => {
      const ticket = await issue();
      expect(ticket).to.match(/^[\w-]{43}$/);
      expect(await issue()).not.to.equal(ticket);
      const { id } = await visit(ticket);
      const client = sse.redis.createClient();
      const all = await Promise.all((await keys()).map(async (key) => [key, await client.get(key)]));
      expect(tokenOf(id)).to.match(/^[\w-]{43}$/);
      expect(JSON.stringify(all)).not.to.include(ticket).and.not.to.include(tokenOf(id));
    });

    it("gives a stream the channels, the key and the end of the right", async () => {
      const expiresAt = clock.now() + 60_000;
      const ticket = await issue({ channels: ["a", "b", "a"], key: 7, expiresAt: new Date(expiresAt) });
      const access = await sse.tickets.access(ticket);
      expect(access).to.deep.include({ channels: ["a", "b"], key: "7", expiresAt });
      const { session } = await enter(access);
      await clock.advance(66_000);
      expect(session.closeReason).to.equal("authorization-expired");
    });

    it("refuses channels as a resolver's answer is refused, and invalid options", async () => {
      const many = Array.from({ length: 65 }, (_, index) => `channel ${index}`);
      const refused: readonly (readonly [string, Partial<TicketOptions>])[] = [
        ["FORBIDDEN", { channels: null }],
        ["FORBIDDEN", { channels: [] }],
        ["FORBIDDEN", { channels: ["a", "sse:wake"] }],
        ["FORBIDDEN", { channels: "__keyspace@0__:a" }],
        ["INVALID_CHANNEL", { channels: "a\nb" }],
        ["INVALID_CHANNEL", { channels: {} as never }],
        ["LIMIT_CHANNELS", { channels: many }],
        ["CONFIG", { ttlMs: 999 }],
        ["CONFIG", { ttlMs: 24 * 3_600_000 + 1 }],
        ["CONFIG", { key: {} as never }],
        ["CONFIG", { expiresAt: "soon" as never }],
        ["CONFIG", { ttl: 5 } as never],
        ["UNAUTHORIZED", { expiresAt: clock.now() }],
        ["UNAUTHORIZED", { expiresAt: -Infinity }],
      ];
      for (const [code, options] of refused) {
        expectFault(await faultOf(issue(options)), code, JSON.stringify(options));
      }
      expect(await keys()).to.deep.equal([]);
    });
  });

  it("lets its client resume since its admission, and not from an earlier place that the client has written", async () => {
    await recreate({ secret: "a secret that has more than 32 characters" });
    const { id: early } = await sse.publish("a", { data: "before" });
    await sse.publish("a", { data: "also before" });
    const access = async (ticket: string, lastEventId?: string): Promise<StreamAccess> => ({
      ...(await sse.tickets.access(ticket, { lastEventId })),
      resume: "since-admission",
    });
    const ticket = await issue();
    const first = await enter(await access(ticket));
    await leave(first);
    await sse.publish("a", { data: "missed" });
    const second = await enter(await access(ticket, first.id), first.id);
    await eventually(() => expect(second.sink.text).to.include("data: missed"));
    expect(second.sink.text).not.to.include("event: gap");
    await leave(second);
    const forged = `${early}${first.id.slice(first.id.indexOf("~"))}`;
    const third = await enter(await access(ticket, forged), forged);
    await eventually(() => expect(third.sink.text).to.include("data: missed"));
    expect(third.sink.text).to.include('"reason":"foreign"');
    expect(third.sink.text).not.to.include("before");
  });

  describe("an unused ticket", () => {
    it("expires", async () => {
      const ticket = await issue({ ttlMs: 1_000 });
      await clock.advance(999);
      await sse.tickets.access(ticket);
      await clock.advance(1);
      await expectInvalid(ticket);
    });

    it("does not take its token from the client", async () => {
      const ticket = await issue();
      const chosen = `0~${"x".repeat(43)}`;
      const { id } = await visit(ticket, chosen);
      expect(id).to.include("~").and.not.to.include("x".repeat(43));
      await expectInvalid(ticket, chosen);
    });

    it("opens one stream if two clients come at the same time", async () => {
      const ticket = await issue();
      const [first, second] = [await sse.tickets.access(ticket), await sse.tickets.access(ticket)];
      const sink = new FakeSink();
      const [opened, refused] = await Promise.all([enter(first), faultOf(sse.open({}, sink, second))]);
      expect(opened.session.state).to.equal("subscribed");
      expectFault(refused, "TICKET_INVALID");
      expect(sink.answered!.status).to.equal(401);
      await clock.advance(0);
      // The end of the refused stream did not change the ticket.
      await leave(opened);
      await visit(ticket, opened.id);
    });

    it("is refused if another program has changed it", async () => {
      const ticket = await issue();
      const [key] = await keys();
      const client = sse.redis.createClient();
      const write = (text: string): Promise<unknown> => client.set(key!, text, "PX", 30_000);
      const unused = (await client.get(key!))!;
      for (const rights of ["", "{", "null", "5", '{"channels":"a"}', '{"channels":[],"key":{}}']) {
        await write(`0 - - ${rights}`);
        await expectInvalid(ticket);
      }
      for (const text of ["", "x", unused.replace("0", "x"), unused.replace(" - -", "")]) {
        await write(text);
        await expectInvalid(ticket);
      }
      await write(unused);
      await visit(ticket);
    });

    it("is used by a stream with a copy of the answer", async () => {
      const ticket = await issue();
      await enter({ ...(await sse.tickets.access(ticket)), key: "ann" });
      await expectInvalid(ticket);
    });
  });

  describe("a used ticket", () => {
    it("is refused without the token: while the stream is open, after its end and after reconnectMs", async () => {
      const ticket = await issue();
      const other = await visit(await issue());
      const first = await visit(ticket);
      const wrong = [undefined, "", "~", "earliest", `0~${"x".repeat(43)}`, other.id, first.id.split("~")[0]];
      const expectAllInvalid = async (): Promise<void> => {
        for (const id of wrong) await expectInvalid(ticket, id);
      };
      await expectAllInvalid();
      await leave(first);
      await expectAllInvalid();
      await clock.advance(60_000);
      await expectAllInvalid();
      await expectInvalid(ticket, first.id);
    });

    it("opens a stream with the token until reconnectMs after the end of the last one, and keeps the token", async () => {
      const ticket = await issue();
      const first = await visit(ticket);
      await leave(first);
      await clock.advance(59_000);
      const second = await visit(ticket, first.id);
      expect(tokenOf(second.id)).to.equal(tokenOf(first.id));
      await leave(second);
      await clock.advance(59_000);
      await visit(ticket, first.id);
    });

    it("stays valid for the lifetime of a long stream", async () => {
      const ticket = await issue();
      const first = await visit(ticket);
      await clock.advance(3_600_000);
      await leave(first);
      expect(await ttl()).to.equal(60_000);
      await visit(ticket, first.id);
    });

    it("opens a stream while the old one is still open, whose end changes nothing", async () => {
      const ticket = await issue();
      const first = await visit(ticket);
      await clock.advance(5_000);
      const second = await visit(ticket, first.id);
      await leave(first);
      expect(await ttl()).to.equal(70_000);
      await clock.advance(3_600_000);
      await leave(second);
      await visit(ticket, second.id);
    });

    it("has its token in each id, also on a channel without history", async () => {
      await recreate({ history: false });
      const first = await visit(await issue());
      expect(first.id).to.match(/^0~[\w-]{43}$/);
    });

    it("lets its client get the last event of a completed channel again", async () => {
      const ticket = await issue();
      const first = await visit(ticket);
      await sse.complete("a", { data: "last" });
      await first.session.closed;
      await clock.advance(0);
      const second = await visit(ticket, first.id);
      await eventually(() => expect(second.sink.text).to.include("data: last"));
    });

    for (const reason of ["revoked", "authorization-expired"] as const) {
      it(`ends with a stream that closes with reason ${reason}`, async () => {
        const ticket = await issue();
        const first = await visit(ticket);
        await first.session.close(reason);
        await clock.advance(0);
        expect(await keys()).to.deep.equal([]);
      });
    }

    it("needs one timer for all open streams, and none after them", async () => {
      const visits = [await visit(await issue())];
      const pending = clock.pending;
      for (let count = 0; count < 5; count++) visits.push(await visit(await issue()));
      expect(clock.pending).to.equal(pending);
      for (const each of visits) await leave(each);
      await clock.advance(1_000); // the subscription lingers
      await sse.close();
      expect(clock.pending).to.equal(0);
    });
  });

  describe("a ticket whose stream does not open", () => {
    it("stays unused if the stream is refused before it starts", async () => {
      await recreate({ limits: { maxSessions: 1 } });
      const ticket = await issue();
      const other = await visit(await issue());
      expectFault(await faultOf(visit(ticket)), "LIMIT_SESSIONS");
      await leave(other);
      await visit(ticket);
    });

    it("is unused again for the rest of its time if the subscription fails", async () => {
      const ticket = await issue({ ttlMs: 20_000 });
      await clock.advance(5_000);
      const end = sse.redis.refuse("NOPERM", { channel: "a" });
      expectFault(await faultOf(visit(ticket)), "SUBSCRIBE_REFUSED");
      end();
      await clock.advance(0);
      expect(await ttl()).to.equal(15_000);
      await visit(ticket);
      await expectInvalid(ticket);
    });

    it("is gone if its time has passed since", async () => {
      const access = await sse.tickets.access(await issue({ ttlMs: 1_000 }));
      const end = sse.redis.refuse("NOPERM", { channel: "a" });
      // Redis takes the ticket before it expires, and refuses the subscription after that.
      sse.redis.setLatency(700);
      const opening = faultOf(enter(access));
      await clock.advance(1_500);
      expectFault(await opening, "SUBSCRIBE_REFUSED");
      await clock.advance(700);
      end();
      sse.redis.setLatency(0);
      expect(await keys()).to.deep.equal([]);
    });

    for (const [what, end] of [
      ["its client leaves", (sink: FakeSink) => sink.leave()],
      ["the service drains", () => void sse.drain({ timeoutMs: 1, spreadMs: 0 })],
    ] as const) {
      it(`is unused again if ${what} while Redis takes it`, async () => {
        const ticket = await issue();
        const access = await sse.tickets.access(ticket);
        sse.redis.pause();
        const sink = new FakeSink();
        const opening = sse.open({}, sink, access);
        await clock.advance(0);
        end(sink);
        const session = await opening;
        sse.redis.resume();
        await session.closed;
        await clock.advance(0);
        const again = await sse.tickets.access(ticket);
        expect(again).to.deep.include({ channels: ["a"] });
      });
    }

    it("is unused again if the response is destroyed while Redis takes it, and does not report it yet", async () => {
      // The stream of a known channel starts without a further wait.
      await visit(await issue());
      const ticket = await issue();
      const access = await sse.tickets.access(ticket);
      sse.redis.pause();
      const sink = new FakeSink();
      const opening = sse.open({}, sink, access);
      await clock.advance(0);
      sink.closed = true;
      sse.redis.resume();
      await (
        await opening
      ).closed;
      await clock.advance(0);
      expect(sink.text).to.equal("");
      expect(await sse.tickets.access(ticket)).to.deep.include({ channels: ["a"] });
    });

    it("is unused again if Redis takes it after the deadline of the stream", async () => {
      await recreate({ limits: { subscribeTimeoutMs: 100 } });
      const ticket = await issue();
      const access = await sse.tickets.access(ticket);
      sse.redis.setLatency(1_000);
      const opening = faultOf(enter(access));
      await clock.advance(150);
      expectFault(await opening, "TIMEOUT");
      await clock.advance(5_000);
      sse.redis.setLatency(0);
      await visit(ticket);
    });

    it("still belongs to its client if the client has used it before", async () => {
      const ticket = await issue();
      const first = await visit(ticket);
      await leave(first);
      const end = sse.redis.refuse("NOPERM", { channel: "a" });
      await faultOf(visit(ticket, first.id));
      end();
      await clock.advance(30_000);
      await expectInvalid(ticket);
      await visit(ticket, first.id);
    });
  });

  for (const error of ["LOADING", "NOPERM"]) {
    it(`is neither issued nor accepted while the revocations cannot be read: ${error}`, async () => {
      const ticket = await issue();
      const end = sse.redis.refuse(error, { command: "xrange" });
      const faults = [await faultOf(issue()), await faultOf(sse.tickets.access(ticket))];
      for (const fault of faults) {
        expectFault(fault, "REDIS_REFUSED");
        expect(fault).to.have.property("retryable", error === "LOADING");
      }
      end();
      await visit(ticket);
      await visit(await issue());
    });
  }

  it("is refused after its key or one of its channels was revoked, and not after another revocation", async () => {
    const tickets = [await issue({ key: 7, channels: ["a", "b"] }), await issue({ channels: ["b", "c"] })];
    const calling = Promise.all([sse.revoke({ key: "a" }), sse.revoke({ channel: "7" })]);
    await clock.advance(0);
    await calling;
    for (const ticket of tickets) await sse.tickets.access(ticket);
    await sse.revoke({ key: 7 });
    await expectInvalid(tickets[0]!);
    await sse.tickets.access(tickets[1]);
    await sse.revoke({ channel: "c" });
    await expectInvalid(tickets[1]!);
  });

  it("has all changes in Redis when the service is closed", async () => {
    const other = createTestSse({ redis: sse.redis });
    const ticket = await sse.tickets.issue({ channels: "a" });
    const { id } = await visit(ticket);
    await sse.close();
    const client = other.redis.createClient();
    expect(await client.pttl((await client.keys("sse:ticket:*"))[0]!)).to.equal(60_000);
    await other.tickets.access(ticket, { lastEventId: id });
    await other.close();
  });

  it("shows no token if the answer of a resolver is printed", async () => {
    const access = await sse.tickets.access(await issue());
    const { id } = await enter(access);
    expect(inspect(access, { depth: 9, showHidden: true })).not.to.include(tokenOf(id));
  });

  it("accepts no other text as a ticket or as a token", async () => {
    const ticket = await issue();
    const first = await visit(ticket);
    const near = fc
      .constantFrom(ticket, first.id, tokenOf(first.id))
      .chain((text) =>
        fc
          .tuple(fc.nat(text.length - 1), fc.string({ maxLength: 2 }))
          .map(([at, part]) => text.slice(0, at) + part + text.slice(at + 1)),
      );
    const text = fc.oneof(near, fc.string(), fc.string({ unit: "binary", maxLength: 100 }));
    await fc.assert(
      fc.asyncProperty(fc.option(text, { nil: undefined }), text, async (given, lastEventId) => {
        const isTicket = given === ticket;
        const isToken = lastEventId.slice(lastEventId.indexOf("~")) === `~${tokenOf(first.id)}`;
        if (!isTicket)
          expectFault(await faultOf(sse.tickets.access(given, { lastEventId })), "TICKET_INVALID");
        if (!isToken) await expectInvalid(ticket, lastEventId);
      }),
    );
  });
});
