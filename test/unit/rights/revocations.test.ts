import { expect } from "chai";
import { anything, assert, asyncProperty, constant, integer, oneof, record, string } from "fast-check";

import { ConfigError, RedisSseError, type RevocationTarget, type RevokeOptions } from "../../../lib/index.js";
import type { StreamRequest } from "../../../lib/adapter.js";
import { taskStream } from "../../../middleware/express.js";
import { createTestSse, FakeClock, type TestSse, type TestSseOptions } from "../../../testing/index.js";
import { deferred, eventually, settle } from "../../support/eventually.js";
import { FakeSink } from "../../support/fake-sink.js";
import { recordingLogger } from "../../support/recording-logger.js";
import { expectRefusal } from "../../support/refusal.js";
import { expectFault, faultOf } from "../../support/service.js";
import { startApp } from "../../support/test-app.js";

const REVOKED = 'event: closing\ndata: {"reason":"revoked"}';

describe("revoke()", () => {
  const services: TestSse[] = [];
  const create = (options?: TestSseOptions): TestSse => {
    const sse = createTestSse(options);
    services.push(sse);
    return sse;
  };
  afterEach(async () => {
    for (const sse of services.splice(0)) await sse.close();
  });

  async function open(sse: TestSse, key: StreamRequest["key"], ...channels: string[]): Promise<FakeSink> {
    const sink = new FakeSink();
    await sse.open({ key }, sink, channels);
    return sink;
  }

  /** Opens a stream and waits until the process hears of revocations. */
  async function openHearing(sse: TestSse, key: string, channel: string): Promise<FakeSink> {
    const sink = await open(sse, key, channel);
    await settle();
    return sink;
  }

  function expectEnded(...sinks: readonly FakeSink[]): Promise<void> {
    return eventually(() => {
      for (const { text } of sinks) expect(text).to.include(REVOKED);
    });
  }

  function expectOpen(...sinks: readonly FakeSink[]): void {
    for (const sink of sinks) expect(sink).to.include({ ended: false, closed: false });
  }

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`ends the streams of a key, a session or a channel in all processes, and no others (${subscriptions})`, async () => {
      const one = create({ subscriptions });
      const other = create({ subscriptions, redis: one.redis });
      const caller = create({ redis: one.redis });
      const ann = [
        await openHearing(one, "7", "a"),
        await openHearing(other, "7", "a"),
        await open(one, 7n, "b"),
      ];
      const session = new FakeSink();
      const { id } = await other.open({ key: "8" }, session, "a");
      const bob = await open(one, "bob", "a", "c");
      expect(await caller.revoke({ key: 7 })).to.equal(3);
      await expectEnded(...ann);
      expectOpen(session, bob);
      expect(await caller.revoke({ session: id })).to.equal(1);
      await expectEnded(session);
      expectOpen(bob);
      expect(await one.revoke({ channel: "c" })).to.equal(1);
      await expectEnded(bob);
      expect(await one.revoke({ channel: "c" })).to.equal(0);
      const { sessions, revocations } = await one.status();
      expect(sessions.closed).to.deep.equal({ revoked: 3 });
      expect(revocations).to.deep.equal({ applied: 4, blocked: 0 });
    });
  }

  it("does not count its own channels as channels of streams", async () => {
    const sse = create();
    const sink = await openHearing(sse, "ann", "a");
    await sse.revoke({ key: "bob" });
    const { hub, channels } = await sse.status();
    expect(hub).to.include({ channels: 1, subscribed: 1 });
    expect(channels).to.deep.equal(["a"]);
    expectOpen(sink);
  });

  it("leaves streams open that opened after the call, also in a process that hears of it late", async () => {
    const clock = new FakeClock();
    const sse = create({ clock });
    const late = create({ redis: sse.redis });
    const before = await openHearing(late, "ann", "a");
    const isBack = late.redis.refuse("LOADING", { command: "xrange" });
    const calling = sse.revoke({ key: "ann" });
    await clock.advance(5_000);
    expect(await calling).to.equal(0);
    const after = await open(late, "ann", "a");
    isBack();
    await clock.advance(1_000);
    await expectEnded(before);
    expectOpen(after);
  });

  it("with forMs, refuses new streams of the key in all processes until the time has passed", async () => {
    const clock = new FakeClock();
    const sse = create({ clock });
    const other = create({ redis: sse.redis });
    const sinks = [await openHearing(sse, "ann", "a"), await openHearing(other, "ann", "a")];
    expect(await sse.revoke({ key: "ann" }, { forMs: 60_000 })).to.equal(2);
    // A later call does not shorten the time.
    await sse.revoke({ key: "ann" }, { forMs: 1_000 });
    await expectEnded(...sinks);
    await clock.advance(59_000);
    for (const each of [sse, other]) {
      const refused = new FakeSink();
      expectFault(await faultOf(each.open({ key: "ann" }, refused, "a")), "REVOKED");
      expect(refused.answered).to.include({ status: 403 });
      expect(each.check({ key: "ann" }, "a")).to.have.property("code", "REVOKED");
      expectOpen(await open(each, "bob", "a"), await open(each, undefined, "a"));
      expect((await each.status()).revocations.blocked).to.equal(1);
    }
    // A process that starts now ends the stream that opened before it knew.
    const young = create({ redis: sse.redis });
    const early = await open(young, "ann", "a");
    await eventually(() => expect(early.ended).to.equal(true));
    expectFault(await faultOf(young.open({ key: "ann" }, new FakeSink(), "a")), "REVOKED");
    await clock.advance(1_000);
    for (const each of [sse, other, young]) {
      expectOpen(await open(each, "ann", "a"));
      expect((await each.status()).revocations.blocked).to.equal(0);
    }
  });

  for (const target of [{ key: "ann" }, { channel: "a" }] as const) {
    it(`refuses a stream whose resolver decided before the call: ${Object.keys(target)[0]}`, async () => {
      const sse = create();
      await openHearing(sse, "bob", "b");
      const sink = new FakeSink();
      const answer = deferred<string>();
      const resolving = sse.resolve({}, sink, () => answer.promise);
      await sse.revoke(target);
      answer.resolve("a");
      const { value } = (await resolving)!;
      expectFault(await faultOf(sse.open({ key: "ann" }, sink, value)), "CLOSED");
      // The client reconnects, and the resolver decides again.
      expect(sink.answered).to.include({ status: 200 });
      const again = new FakeSink();
      const second = (await sse.resolve({}, again, () => "a"))!;
      await sse.open({ key: "ann" }, again, second.value);
      expectOpen(again);
    });
  }

  it("refuses a task stream whose resolver decided before the call, although the task is resolved after it", async () => {
    const sse = create();
    await openHearing(sse, "bob", "b");
    const { id } = await sse.queue().enqueue("work", null);
    const decide = async (): Promise<string> => {
      await sse.revoke({ key: "ann" });
      return id;
    };
    const app = await startApp((router) => {
      router.get("/task", taskStream(decide, { service: sse, key: () => "ann", onUnavailable: "status" }));
    });
    try {
      await expectRefusal(await fetch(`${app.url}/task`), 503, "CLOSED");
    } finally {
      await app.close();
    }
  });

  it("rejects and ends no stream if Redis does not store the revocation", async () => {
    const sse = create();
    const sink = await openHearing(sse, "ann", "a");
    const isBack = sse.redis.refuse("OOM");
    expectFault(await faultOf(sse.revoke({ key: "ann" }, { forMs: 1_000 })), "REDIS_REFUSED");
    isBack();
    await sse.revoke({ key: "bob" });
    expectOpen(sink, await open(sse, "ann", "a"));
    await sse.close();
    expectFault(await faultOf(sse.revoke({ key: "ann" })), "CLOSED");
  });

  it("carries out revocations after Redis has lost its list, even if its clock was set back", async () => {
    const sse = create();
    const sinks = [await openHearing(sse, "ann", "a"), await open(sse, "bob", "b")];
    await sse.revoke({ key: "ann" });
    const client = sse.redis.createClient();
    await client.del("sse:revocations");
    await client.xadd("sse:revocations", "5", "r", `${Date.now()} 0 call caller ["key","bob"]`);
    await client.publish("sse:revocations", "5");
    await expectEnded(...sinks);
  });

  it("ignores notices and entries of other programs", async () => {
    const sse = create();
    const sink = await openHearing(sse, "ann", "a");
    const client = sse.redis.createClient();
    const entries = [
      "",
      "1 0 a b",
      '1 0 a b ["user","ann"]',
      '1 0 a b ["key",1]',
      '1 0 a b {"key":"ann"}',
      "x y z",
    ];
    for (const [index, entry] of entries.entries())
      await client.xadd("sse:revocations", `${index + 1}`, "r", entry);
    await client.xadd("sse:revocations", "20", "other", "field");
    await client.publish("sse:revocations", "\u001esse1\nbroken");
    await client.publish("sse:revocations", '["key","ann"]');
    expect(await sse.revoke({ key: "bob" })).to.equal(0);
    expect((await sse.status()).revocations.applied).to.equal(1);
    expectOpen(sink);
  });

  for (const [what, rule] of [
    ["the channel", { channel: "sse:revocations" }],
    ["reading", { command: "xrange" }],
  ] as const) {
    it(`warns once, and serves streams as before, if Redis denies ${what}`, async () => {
      const { logger, lines } = recordingLogger();
      const clock = new FakeClock();
      const sse = create({ clock, logger });
      const isAllowed = sse.redis.refuse("NOPERM", rule);
      const sink = await openHearing(sse, "ann", "a");
      await sse.publish("a", { data: "event" }, { history: false });
      await eventually(() => expect(sink.text).to.include("event"));
      await clock.advance(130_000);
      const warnings = lines.filter((line) => line.includes("revoke() does not reach"));
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.include("sse:revocations");
      // The right is asked for again from time to time.
      isAllowed();
      await clock.advance(5_000);
      const calling = sse.revoke({ key: "ann" });
      await clock.advance(1_000);
      expect(await calling).to.equal(1);
      await expectEnded(sink);
    });
  }

  it("returns what it knows if its own process cannot hear answers", async () => {
    const { logger, lines } = recordingLogger();
    const sse = create({ logger });
    const other = create({ redis: sse.redis });
    const sinks = [await openHearing(sse, "ann", "a"), await openHearing(other, "ann", "a")];
    sse.redis.refuse("NOPERM", { channel: "sse:revocations:*", command: "subscribe" });
    expect(await sse.revoke({ key: "ann" })).to.equal(1);
    await expectEnded(...sinks);
    expect(lines.filter((line) => line.includes("revoke() cannot count"))).to.have.length(1);
  });

  it("counts no answer of a process that reads the revocation for a ticket only", async () => {
    const clock = new FakeClock();
    const sse = create({ clock });
    const caller = create({ redis: sse.redis });
    await openHearing(sse, "ann", "a");
    const isBack = sse.redis.refuse("LOADING", { command: "xrange" });
    const calling = caller.revoke({ key: "ann" });
    await settle();
    isBack();
    await caller.tickets.issue({ channels: "b" });
    expect((await caller.status()).revocations.applied).to.equal(1);
    await clock.advance(700);
    expect(await calling).to.equal(1);
  });

  it("has a type that allows exactly one property", () => {
    const target: RevocationTarget = { key: "ann", channel: undefined };
    // @ts-expect-error two properties
    const both: RevocationTarget = { key: "ann", channel: "a" };
    // @ts-expect-error two properties
    const others: RevocationTarget = { session: "id", channel: "a" };
    // @ts-expect-error no property
    const none: RevocationTarget = {};
    expect([target, both, others, none]).to.have.length(4);
  });

  describe("its arguments", () => {
    const refused: readonly (readonly [string, unknown, unknown?])[] = [
      ["no target", {}],
      ["an undefined key", { key: undefined }],
      ["no key", { key: null }],
      ["a list as the key", { key: ["ann"] }],
      ["two targets", { key: "ann", channel: "a" }],
      ["an unknown property", { key: "ann", user: "ann" }],
      ["a text", "ann"],
      ["nothing", undefined],
      ["a number as the session", { session: 1 }],
      ["a long key", { key: "k".repeat(1_025) }],
      ["forMs with a session", { session: "id" }, { forMs: 1 }],
      ["forMs with a channel", { channel: "a" }, { forMs: 1 }],
      ["forMs of 0", { key: "ann" }, { forMs: 0 }],
      ["forMs of more than 30 days", { key: "ann" }, { forMs: 30 * 24 * 3_600_000 + 1 }],
      ["an unknown option", { key: "ann" }, { ms: 1 }],
    ];
    for (const [what, target, options] of refused) {
      it(`are refused: ${what}`, async () => {
        const fault = await faultOf(create().revoke(target as RevocationTarget, options as RevokeOptions));
        expect(fault).to.be.instanceOf(ConfigError);
      });
    }

    it("can have the longest time, a key of any text, and a channel of the application only", async () => {
      const sse = create();
      const key = '"\\ \n\u0000 é 😀 \ud800 ] 1 0';
      const sink = await openHearing(sse, key, "a");
      expect(await sse.revoke({ key }, { forMs: 30 * 24 * 3_600_000 })).to.equal(1);
      await expectEnded(sink);
      expectFault(await faultOf(sse.open({ key }, new FakeSink(), "a")), "REVOKED");
      expectFault(await faultOf(sse.revoke({ channel: "sse:revocations" })), "FORBIDDEN");
      expectFault(await faultOf(sse.revoke({ channel: "" })), "INVALID_CHANNEL");
    });

    it("end exactly their streams or are refused with a code, and never appear in the log", async () => {
      const { logger, lines } = recordingLogger();
      const sse = create({ logger });
      const secret = "S3CRET";
      const bystander = await openHearing(sse, `${secret} bystander`, "bystander");
      const text = string({ unit: "binary", maxLength: 40 }).map((end) => `${secret}${end}`);
      const value = oneof(text, anything());
      const targets = oneof(
        record({ key: value, session: value, channel: value }, { requiredKeys: [] }),
        record({ key: text }),
        anything(),
      );
      const options = oneof(constant(undefined), record({ forMs: oneof(integer(), anything()) }));
      await assert(
        asyncProperty(targets, options, async (target, given) => {
          const { key } = (target ?? {}) as { key?: unknown };
          const sink = typeof key === "string" ? await open(sse, key, "fuzz").catch(() => null) : null;
          try {
            const count = await sse.revoke(target as RevocationTarget, given as RevokeOptions);
            expect(count).to.equal(sink === null ? 0 : 1);
          } catch (error) {
            expect(error).to.be.instanceOf(RedisSseError);
            expect(["CONFIG", "INVALID_CHANNEL", "FORBIDDEN"]).to.include((error as RedisSseError).code);
            expect((error as RedisSseError).message).not.to.include(secret);
          }
          sink?.leave();
        }),
        { numRuns: 200 },
      );
      expectOpen(bystander);
      expect(lines.join("\n")).not.to.include(secret);
    });
  });
});
