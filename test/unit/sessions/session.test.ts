import { format, stripVTControlCharacters } from "node:util";

import { expect } from "chai";
import { restore, spy, stub } from "sinon";

import { RedisSseError } from "../../../lib/errors.js";
import { EventBatch } from "../../../lib/events/event-batch.js";
import type { SessionSettings } from "../../../lib/sessions/session-context.js";
import { PubSubSession } from "../../../lib/sessions/session.js";
import type { StreamRequest } from "../../../lib/sessions/sink.js";
import type { Transport, TransportListener } from "../../../lib/subscriptions/transport.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { FakeSink } from "../../support/fake-sink.js";
import { plainEvent } from "../../support/inbound-events.js";
import { noHistory, noLog } from "../../support/no-history.js";
import { captureLog, faultOf } from "../../support/service.js";
import { sessionContext } from "../../support/session-context.js";

const SETTINGS: SessionSettings = {
  heartbeatMs: 15_000,
  slowConsumer: "disconnect",
  retryMs: 2_000,
  maxChannelsPerSession: 3,
  maxEventBytes: 1_000,
  maxReplayEvents: 100,
  maxBufferedBytes: 1_000,
  maxStallMs: 30_000,
  maxLifetimeMs: Infinity,
  subscribeTimeoutMs: 5_000,
  closeTimeoutMs: 2_000,
};

describe("PubSubSession", () => {
  let clock: FakeClock;
  let sink: FakeSink;
  let transport: ScriptedTransport;
  let opened: PubSubSession[];
  let closed: PubSubSession[];

  beforeEach(() => {
    clock = new FakeClock();
    sink = new FakeSink();
    transport = new ScriptedTransport();
    opened = [];
    closed = [];
  });

  afterEach(async () => {
    restore();
    for (const session of opened) void session.close();
    await passDeadlines();
    expect(closed, "each session is reported as closed once").to.have.members(opened);
    for (const session of opened) expect(session.state).to.equal("closed");
    expect(sink.listeners, "listeners left on the sink").to.equal(0);
    expect(clock.pending, "timers left").to.equal(0);
    expect(transport.calls.at(-1), "the last stage of every teardown").to.equal("reset");
  });

  describe("start()", () => {
    it("uses the retryMs of the request if it is set", async () => {
      await live({ request: { retryMs: 7 } });
      expect(sink.text).to.match(/^retry: 7\n/);
    });

    it("writes nothing before the subscription is acknowledged", async () => {
      const acknowledged = deferred();
      transport.onSubscribe = () => acknowledged.promise;
      const session = create();
      const started = session.start();
      await settle();
      expect(session.state).to.equal("created");
      expect(sink.head).to.equal(null);
      expect(sink.text).to.equal("");
      acknowledged.resolve();
      await started;
    });

    it("does not subscribe for a client that has already disconnected", async () => {
      sink.closed = true;
      const session = create();
      await session.start();
      expect(session.closeReason).to.equal("client-gone");
      expect(transport.calls).not.to.contain("subscribe a");
      await session.closed;
      expect(transport.calls).to.deep.equal(["unsubscribe a", "close", "reset"]);
      expect(sink.text).to.equal("");
    });

    it("unsubscribes if the client disconnects before the acknowledgement", async () => {
      const acknowledged = deferred();
      transport.onSubscribe = () => acknowledged.promise;
      const session = create();
      const started = session.start();
      await settle();
      sink.leave();
      expect(session.state, "the state changes at once").to.equal("closing");
      expect(transport.signal?.aborted).to.equal(true);
      await started;
      await session.closed;
      acknowledged.resolve();
      await settle();
      expect(session.closeReason).to.equal("client-gone");
      expect(transport.calls).to.deep.equal(["subscribe a", "unsubscribe a", "close", "reset"]);
      expect(sink.head).to.equal(null);
      expect(sink.text).to.equal("");
    });

    it("notices that the sink was closed during SUBSCRIBE without an event", async () => {
      transport.onSubscribe = () => {
        sink.closed = true;
        return Promise.resolve();
      };
      const session = create();
      await session.start();
      expect(session.closeReason).to.equal("client-gone");
      expect(sink.text).to.equal("");
    });

    it("ends a stream whose last event arrives before the acknowledgement", async () => {
      transport.onSubscribe = () => {
        transport.deliver("a", "last");
        transport.deliver("a", "after");
        return Promise.resolve();
      };
      const session = await live({ request: { until: ({ data }) => data === "last" } });
      expect(session.closeReason).to.equal("completed");
      await session.closed;
      expect(eventNames()).to.deep.equal(["connected", "message", "closing"]);
      expect(messages()).to.deep.equal(["last"]);
    });
  });

  describe("failed SUBSCRIBE", () => {
    beforeEach(() => {
      transport.onSubscribe = () => Promise.reject(maxClients());
    });

    it("releases the connection before it answers the client and before the teardown", async () => {
      const order = orderOf(transport, sink);
      const session = create();
      expect(await faultOf(session.start())).to.include({ code: "REDIS_UNAVAILABLE" });
      await session.closed;
      expect(order).to.deep.equal(["subscribe a", "reset", "answer", "unsubscribe a", "close", "reset"]);
      expect(session.closeReason).to.equal("subscribe-failed");
    });

    it("is answered with retry and an `error` event without details of Redis", async () => {
      const fault = await faultOf(create().start());
      expect(fault).to.be.instanceOf(RedisSseError);
      expect(format(fault)).not.to.contain("secret");
      expect(sink.answered?.status).to.equal(200);
      const body = sink.answered!.body.toString();
      expect(body).to.match(/^retry: \d+\nevent: error\n/);
      expect(body).to.contain("REDIS_UNAVAILABLE").and.not.to.contain("secret");
      expect(sink.head, "no stream was started").to.equal(null);
    });

    it('is answered with an HTTP status if onUnavailable is "status"', async () => {
      await faultOf(create({ request: { onUnavailable: "status" } }).start());
      expect(sink.answered?.status).to.equal(503);
    });

    it("is reported as TIMEOUT if Redis does not answer by the deadline", async () => {
      transport.onSubscribe = () => new Promise(() => {});
      const session = create();
      const fault = faultOf(session.start());
      await settle();
      clock.advance(4_999);
      await settle();
      expect(session.state).to.equal("created");
      clock.advance(1);
      expect(await fault).to.include({ code: "TIMEOUT" });
      await session.closed;
      expect(transport.calls).to.deep.equal(["subscribe a", "reset", "unsubscribe a", "close", "reset"]);
    });

    it("is answered and torn down even if reset() throws", async () => {
      transport.onReset = throwing;
      const session = create();
      await faultOf(session.start());
      await session.closed;
      expect(sink.answered?.status).to.equal(200);
      expect(transport.calls).to.deep.equal(["subscribe a", "reset", "unsubscribe a", "close", "reset"]);
    });

    it("is not answered if the client has disconnected at the same time", async () => {
      transport.onSubscribe = () => {
        sink.closed = true;
        return Promise.reject(maxClients());
      };
      await faultOf(create().start());
      expect(sink.answered).to.equal(null);
    });
  });

  describe("log", () => {
    let log: ReturnType<typeof captureLog>;

    beforeEach(() => {
      log = captureLog("redis-sse:session");
    });

    afterEach(() => log.restore());

    /** Returns the log lines without colours, times and namespaces. */
    const logged = (): readonly string[] =>
      log.lines.map((line) =>
        stripVTControlCharacters(line)
          .replace(/^.*?redis-sse:session /s, "")
          .replace(/ \+\d+\w+$/, ""),
      );

    it("has one line for each step of a stream, in the order of the original app", async () => {
      const session = await live({ request: { key: "admin" } }, "notifications:admin");
      for (let count = 1; count <= 5; count++) transport.deliver("notifications:admin", String(count));
      sink.leave();
      await session.closed;
      expect(logged()).to.deep.equal([
        "[SSE] create PubSub connection: user=admin, channel=notifications:admin",
        "[SSE] subscribed: notifications:admin",
        "[SSE] client disconnected: user=admin, 5 messages sent",
        "[SSE] cleaning up PubSub connection: user=admin",
        "[SSE] unsubscribed: notifications:admin",
        "[SSE] PubSub connection closed: user=admin",
      ]);
    });

    it("names the reason if the server closes the stream", async () => {
      const session = await live({ request: { key: "admin" } });
      await session.close("drain");
      expect(logged()).to.contain("[SSE] closing (drain): user=admin, 0 messages sent");
    });

    it("has a line for each added and removed channel", async () => {
      const session = await live({}, "a");
      await session.addChannel("b");
      await session.removeChannel("b");
      transport.onUnsubscribe = () => Promise.reject(new Error("Connection is closed."));
      await session.removeChannel("a");
      expect(logged().slice(2)).to.deep.equal([
        "[SSE] subscribed: b",
        "[SSE] unsubscribed: b",
        "[SSE] unsubscribe failed: Redis cannot be reached",
      ]);
    });

    it("escapes the name of the user", async () => {
      const session = await live({ request: { key: "x\n[SSE] unsubscribed: y" } });
      await session.close();
      expect(logged()[0]).to.contain('user="x\\n[SSE] unsubscribed: y", channel=a');
      expect(logged().join("")).not.to.contain("\n");
    });
  });

  describe("live session", () => {
    it("rejects an invalid event in send() and stays open", async () => {
      const session = await live();
      expect(() => session.send({ event: "error", data: "" })).to.throw(RedisSseError, /reserved/);
      expect(() => session.send({ data: 1n })).to.throw(RedisSseError, /JSON/);
      expect(() => session.send({ data: "x".repeat(1_001) })).to.throw(RedisSseError, /more than 1000 /);
      expect(session.state).to.equal("subscribed");
      expect(eventNames()).to.deep.equal(["connected"]);
    });

    const broken: Readonly<Record<string, () => void>> = {
      "its sink throws": () => {
        sink.write = throwing;
        transport.deliver("a", "x");
      },
      "its sink reports an error": () => sink.leave(true),
    };
    for (const [what, breakSink] of Object.entries(broken)) {
      it(`closes as "write-error" if ${what}`, async () => {
        const session = await live();
        breakSink();
        expect(session.closeReason).to.equal("write-error");
        await session.closed;
        expect(transport.calls).to.contain("unsubscribe a");
        expect(session.statistics.messagesSent, "events that were not written").to.equal(0);
      });
    }

    for (const failed of [false, true]) {
      it(`closes as "peer-lost" if the TCP connection timed out (write failed: ${failed})`, async () => {
        const session = await live();
        const errored = Object.assign(new Error("read ETIMEDOUT"), { code: "ETIMEDOUT" });
        sink.connection = { errored, setKeepAlive: () => {}, destroy: () => {} };
        sink.leave(failed);
        expect(session.closeReason).to.equal("peer-lost");
      });
    }

    const faults: Readonly<Record<string, (fault: RedisSseError) => void>> = {
      revoked: (fault) => transport.listener.refused("a", fault),
      "redis-lost": (fault) => transport.listener.lost(fault),
    };
    for (const [reason, tell] of Object.entries(faults)) {
      it(`closes as "${reason}" if its transport reports it, and sends an error event`, async () => {
        const session = await live();
        tell(new RedisSseError("SUBSCRIBE_REFUSED", "Redis refused"));
        await session.closed;
        expect(session.closeReason).to.equal(reason);
        expect(eventNames()).to.deep.equal(["connected", "error", "closing"]);
        const told = { code: "SUBSCRIBE_REFUSED", message: "Redis refused" };
        expect(JSON.parse(sink.events[1]!.data)).to.deep.equal(told);
      });
    }

    for (const [how, end] of Object.entries({
      fails: () => Promise.reject(maxClients()),
      "is still acknowledged": () => Promise.resolve(),
    })) {
      it(`closes as "subscribe-failed" if the connection is lost during SUBSCRIBE, which ${how}`, async () => {
        transport.onSubscribe = () => {
          transport.listener.lost(new RedisSseError("REDIS_UNAVAILABLE", "lost"));
          return end();
        };
        const session = create();
        expect(await faultOf(session.start())).to.include({ code: "REDIS_UNAVAILABLE" });
        expect(session.closeReason).to.equal("subscribe-failed");
      });
    }
  });

  describe("slow client", () => {
    it("gets buffered events in few writes, and no more writes after a blocking one", async () => {
      const session = await live({ settings: { maxBufferedBytes: 1_000_000 } });
      sink.takes = false;
      const events = Array.from({ length: 12 }, (_, index) => `${index} ${"x".repeat(10_000)}`);
      for (const data of events) transport.deliver("a", data);
      const before = sink.writes;
      sink.step();
      expect(sink.writes).to.equal(before + 1);
      expect(messages()).to.deep.equal(events.slice(0, 8));
      sink.step();
      expect(sink.writes).to.equal(before + 2);
      expect(messages()).to.deep.equal(events);
      expect(session.state).to.equal("subscribed");
    });

    it("gets events from before the acknowledgement even if `connected` blocks the sink", async () => {
      sink.takes = false;
      transport.onSubscribe = () => {
        transport.deliver("a", "early");
        return Promise.resolve();
      };
      await live();
      expect(messages()).to.deep.equal([]);
      sink.drain();
      expect(messages()).to.deep.equal(["early"]);
    });

    it("is disconnected if it reads nothing for maxStallMs", async () => {
      const session = await live();
      sink.takes = false;
      transport.deliver("a", "x");
      clock.advance(29_000);
      expect(session.state).to.equal("subscribed");
      clock.advance(2_000);
      expect(session.closeReason).to.equal("slow-consumer");
      expect(sink.destroyed).to.equal(true);
    });

    it("gets the full maxStallMs again after each drain", async () => {
      const session = await live();
      for (let round = 0; round < 3; round++) {
        sink.takes = false;
        transport.deliver("a", "x");
        clock.advance(20_000);
        sink.drain();
      }
      expect(session.state).to.equal("subscribed");
    });

    it('is not the reason before the first byte: too many events then close the stream as "limit"', async () => {
      transport.onSubscribe = () => {
        transport.deliver("a", "x".repeat(990));
        transport.deliver("a", "x".repeat(990));
        return new Promise(() => {});
      };
      const session = create();
      await session.start();
      expect(session.closeReason).to.equal("limit");
      await session.closed;
      expect(sink.answered?.status).to.equal(200);
      expect(sink.text).to.equal("");
    });
  });

  describe("heartbeat and lifetime", () => {
    it("sends a heartbeat only after heartbeatMs without an event", async () => {
      await live();
      const begun = sink.text.length;
      clock.advance(14_000);
      expect(sink.text.slice(begun)).to.equal("");
      clock.advance(2_000);
      expect(sink.text.slice(begun)).to.equal(":\n");
      transport.deliver("a", "x");
      clock.advance(14_000);
      expect(sink.text.slice(begun)).to.equal(":\ndata: x\n\n");
      clock.advance(2_000);
      expect(sink.text.slice(begun)).to.equal(":\ndata: x\n\n:\n");
    });

    it("uses the heartbeatMs of the request", async () => {
      await live({ request: { heartbeatMs: 3_000 } });
      const begun = sink.text.length;
      clock.advance(30_000);
      const beats = (sink.text.length - begun) / ":\n".length;
      expect(beats).to.be.within(7, 10);
    });

    it("sends no heartbeat if heartbeatMs is false, and reports null in `connected`", async () => {
      await live({ request: { heartbeatMs: false } });
      expect(sink.text).to.include('"heartbeatMs":null');
      const begun = sink.text.length;
      clock.advance(600_000);
      expect(sink.text.slice(begun)).to.equal("");
    });

    it("sends no heartbeat to a blocked client", async () => {
      await live();
      sink.takes = false;
      transport.deliver("a", "x");
      const before = sink.text;
      clock.advance(29_000);
      expect(sink.text).to.equal(before);
    });

    it("sends no heartbeat while earlier bytes have not been sent", async () => {
      const session = await live();
      Object.defineProperty(sink, "pendingBytes", { value: 1 });
      const { text } = sink;
      clock.advance(60_000);
      expect(sink.text).to.equal(text);
      expect(session.statistics).to.include({ messagesSent: 0, bytesSent: Buffer.byteLength(text) });
    });

    for (const [random, lifetimeMs] of [
      [0, 80_000],
      [0.5, 90_000],
      [1, 100_000],
    ] as const) {
      it(`closes a stream after maxLifetimeMs minus a random part (${random})`, async () => {
        stub(Math, "random").returns(random);
        const session = await live({ settings: { maxLifetimeMs: 100_000 } });
        clock.advance(lifetimeMs - 1_000);
        expect(session.state).to.equal("subscribed");
        clock.advance(2_000);
        expect(session.closeReason).to.equal("max-lifetime");
        await session.closed;
        expect(JSON.parse(sink.events.at(-1)!.data)).to.deep.equal({ reason: "max-lifetime" });
      });
    }
  });

  describe("close()", () => {
    it("changes the state at once and resolves when everything is released", async () => {
      const session = await live();
      expect(session.closeReason).to.equal(null);
      const unsubscribed = deferred();
      transport.onUnsubscribe = () => unsubscribed.promise;
      const done = session.close();
      expect(session.state).to.equal("closing");
      expect(session.closeReason).to.equal("app");
      await settle();
      expect(session.state).to.equal("closing");
      expect(closed).to.deep.equal([]);
      unsubscribed.resolve();
      await done;
      expect(session.state).to.equal("closed");
      expect(closed).to.deep.equal([session]);
    });

    for (const reason of ["drain", "redis-lost", "completed"] as const) {
      it(`sends retry and a closing event with "${reason}" and ends the response`, async () => {
        const session = await live();
        await session.close(reason);
        expect(session.closeReason).to.equal(reason);
        expect(sink.events.at(-1)).to.deep.equal({
          event: "closing",
          data: JSON.stringify({ reason }),
          id: reason === "completed" ? "completed" : undefined,
        });
        expect(sink.text).to.match(/retry: [234]\d{3}\nevent: closing\n/);
        expect(sink).to.include({ ended: true, destroyed: false });
      });
    }

    it("waits until the client has read the last bytes, even if the sink is closed after end()", async () => {
      // Like an HTTP response: after end() it accepts no more writes, but it may still hold bytes.
      sink.end = () => {
        sink.ended = true;
        sink.closed = true;
      };
      const session = await live();
      const done = session.close("drain");
      await settle();
      expect(session.state).to.equal("closing");
      clock.advance(SETTINGS.closeTimeoutMs);
      await done;
      expect(sink.destroyed).to.equal(true);
    });

    it("disconnects a client that does not read the last bytes in time", async () => {
      const session = await live();
      sink.closesOnEnd = false;
      const done = session.close("drain");
      await settle();
      expect(sink.destroyed).to.equal(false);
      expect(session.state, "it waits for its client").to.equal("closing");
      clock.advance(SETTINGS.closeTimeoutMs);
      await done;
      expect(sink).to.include({ ended: true, destroyed: true });
    });

    for (const what of ["a stream", "a request before its stream starts"]) {
      it(`destroys ${what} at once if its client is lost, and writes nothing`, async () => {
        if (what !== "a stream") transport.onSubscribe = () => new Promise(() => {});
        const session = what === "a stream" ? await live() : create();
        void session.start();
        await settle();
        const { text } = sink;
        await session.close("peer-lost");
        expect(sink).to.include({ destroyed: true, ended: false, answered: null, text });
        expect(session.closeReason).to.equal("peer-lost");
      });
    }

    it("answers a request whose stream has not started", async () => {
      transport.onSubscribe = () => new Promise(() => {});
      const session = create();
      const started = session.start();
      await settle();
      await session.close("drain");
      await started;
      expect(sink.answered?.status).to.equal(200);
      expect(sink.answered?.body.toString()).to.match(/^retry: \d+\nevent: error\n.*"code":"CLOSED"/);
    });

    it("writes nothing afterwards, counts later events as dropped, and ignores the sink", async () => {
      const session = await live();
      const done = session.close();
      const write = spy(sink, "write");
      transport.deliver("a", "closing");
      session.send({ data: "closing" });
      transport.listener.interrupted([{ channel: "a", unlogged: true }]);
      await done;
      transport.deliver("a", "closed");
      clock.advance(60_000);
      sink.drain();
      await settle();
      expect(write.called).to.equal(false);
      expect(session.statistics).to.include({ messagesSent: 0, messagesDropped: 4 });
      expect(session.state).to.equal("closed");
    });
  });

  describe("sink that throws", () => {
    for (const [what, method] of [
      ["attach()", "attach"],
      ["start()", "start"],
    ] as const) {
      it(`closes the stream as "write-error" without a write if ${what} throws`, async () => {
        sink[method] = throwing;
        const session = create();
        await session.start();
        await session.closed;
        expect(session.closeReason).to.equal("write-error");
        expect(sink.text).to.equal("");
      });
    }

    for (const [what, method, reason] of [
      ["end()", "end", "drain"],
      ["destroy()", "destroy", "slow-consumer"],
    ] as const) {
      it(`does not stop the teardown if ${what} throws`, async () => {
        const session = await live();
        sink[method] = throwing;
        await session.close(reason);
        expect(session.state).to.equal("closed");
        if (method === "end") expect(sink.destroyed).to.equal(true);
      });
    }

    it("is destroyed if answer() throws", async () => {
      transport.onSubscribe = () => Promise.reject(maxClients());
      sink.answer = throwing;
      await faultOf(create().start());
      expect(sink.destroyed).to.equal(true);
    });
  });

  describe("addChannel()", () => {
    it("does nothing for a channel that the stream already has", async () => {
      const session = await live({}, "a");
      await session.addChannel("a");
      expect(transport.calls).to.deep.equal(["subscribe a"]);
    });

    it("subscribes once for two concurrent calls, and both wait for it", async () => {
      const session = await live({}, "a");
      const acknowledged = deferred();
      transport.onSubscribe = () => acknowledged.promise;
      const added: number[] = [];
      const both = [1, 2].map((which) => session.addChannel("b").then(() => added.push(which)));
      await settle();
      expect(transport.calls).to.deep.equal(["subscribe a", "subscribe b"]);
      expect(added).to.deep.equal([]);
      acknowledged.resolve();
      await Promise.all(both);
      expect(added).to.deep.equal([1, 2]);
    });

    it("rejects more channels than maxChannelsPerSession", async () => {
      const session = await live({}, "a", "b");
      const adding = session.addChannel("c");
      expect(await faultOf(session.addChannel("d")), "one being added counts").to.include({
        code: "LIMIT_CHANNELS",
      });
      await adding;
      expect(await faultOf(session.addChannel("d"))).to.include({ code: "LIMIT_CHANNELS" });
      expect([...session.channels]).to.deep.equal(["a", "b", "c"]);
      await session.addChannel("c");
    });

    it("keeps the channels, rejects all callers and unsubscribes if SUBSCRIBE is denied", async () => {
      const session = await live({}, "a");
      transport.onSubscribe = () => Promise.reject(noperm());
      const faults = [1, 2].map(() => faultOf(session.addChannel("b")));
      for (const fault of faults) expect(await fault).to.include({ code: "SUBSCRIBE_REFUSED" });
      expect([...session.channels]).to.deep.equal(["a"]);
      expect(transport.calls).to.deep.equal(["subscribe a", "subscribe b", "unsubscribe b"]);
      expect(session.state).to.equal("subscribed");
      transport.onSubscribe = () => Promise.resolve();
      await session.addChannel("b");
      expect([...session.channels]).to.deep.equal(["a", "b"]);
    });

    it("rejects at the deadline and unsubscribes", async () => {
      const session = await live({}, "a");
      transport.onSubscribe = () => new Promise(() => {});
      const fault = faultOf(session.addChannel("b"));
      await settle();
      clock.advance(SETTINGS.subscribeTimeoutMs);
      expect(await fault).to.include({ code: "TIMEOUT" });
      expect(transport.calls).to.deep.equal(["subscribe a", "subscribe b", "unsubscribe b"]);
      expect([...session.channels]).to.deep.equal(["a"]);
    });

    it("rejects with CLOSED and unsubscribes if the client disconnects during the call", async () => {
      const session = await live({}, "a");
      transport.onSubscribe = () => new Promise(() => {});
      const fault = faultOf(session.addChannel("b"));
      await settle();
      sink.leave();
      expect(await fault).to.include({ code: "CLOSED" });
      await session.closed;
      expect(transport.calls).to.contain("unsubscribe a,b");
    });

    it("rejects with CLOSED before the stream is live and after it is closed", async () => {
      const session = create({}, "a");
      expect(await faultOf(session.addChannel("b"))).to.include({ code: "CLOSED" });
      await session.start();
      await session.close();
      expect(await faultOf(session.addChannel("b"))).to.include({ code: "CLOSED" });
      expect(transport.calls).not.to.contain("subscribe b");
    });
  });

  describe("removeChannel()", () => {
    it("does nothing for an unknown channel or a session that is not live", async () => {
      const session = create({}, "a");
      await session.removeChannel("a");
      expect([...session.channels]).to.deep.equal(["a"]);
      await session.start();
      await session.removeChannel("b");
      await session.close();
      await session.removeChannel("a");
      expect(transport.calls).to.deep.equal(["subscribe a", "unsubscribe a", "close", "reset"]);
    });

    for (const [how, fail] of Object.entries({
      rejects: () => Promise.reject(new Error("Connection is closed.")),
      hangs: () => new Promise<void>(() => {}),
    })) {
      it(`resolves and writes no more events even if unsubscribe fails (${how})`, async () => {
        const session = await live({}, "a", "b");
        transport.onUnsubscribe = fail;
        const removed = session.removeChannel("b");
        await settle();
        clock.advance(SETTINGS.closeTimeoutMs);
        await removed;
        transport.deliver("b", "x");
        expect(messages()).to.deep.equal([]);
        expect(session.state).to.equal("subscribed");
      });
    }

    it("rejects a pending addChannel() call for the channel", async () => {
      const session = await live({}, "a");
      transport.onSubscribe = () => new Promise(() => {});
      const adding = faultOf(session.addChannel("b"));
      await session.removeChannel("b");
      expect(await adding).to.have.property("code");
      expect([...session.channels]).to.deep.equal(["a"]);
      expect(transport.calls).to.deep.equal(["subscribe a", "subscribe b", "unsubscribe b"]);
    });

    for (const [how, end] of Object.entries({
      "is acknowledged": (first: Deferred) => first.resolve(),
      "is denied": (first: Deferred) => first.reject(noperm()),
    })) {
      it(`lets a channel be added again while its first SUBSCRIBE, which ${how}, is pending`, async () => {
        const session = await live({}, "a");
        const [first, second] = [deferred(), deferred()];
        transport.onSubscribe = () => first.promise;
        const adding = session.addChannel("b").catch(() => {});
        const removed = session.removeChannel("b");
        transport.onSubscribe = () => second.promise;
        const again = session.addChannel("b");
        end(first);
        await Promise.all([adding, removed]);
        let told = false;
        const third = session.addChannel("b").then(() => (told = true));
        await settle();
        const toldEarly = told;
        second.resolve();
        await Promise.all([again, third]);
        expect(toldEarly, "resolved before the acknowledgement").to.equal(false);
        expect([...session.channels]).to.deep.equal(["a", "b"]);
        expect(transport.calls).to.deep.equal(["subscribe a", "subscribe b", "unsubscribe b", "subscribe b"]);
      });
    }
  });

  interface Given {
    readonly request?: StreamRequest;
    readonly settings?: Partial<SessionSettings>;
  }

  function create({ request = {}, settings }: Given = {}, ...channels: string[]): PubSubSession {
    const session = new PubSubSession(
      sessionContext({
        settings: { ...SETTINGS, ...settings },
        clock,
        createTransport: (_, listener) => transport.attach(listener),
        history: noHistory,
        onClosed: (member) => closed.push(member),
      }),
      request,
      sink,
      channels.length === 0 ? ["a"] : channels,
    );
    opened.push(session);
    return session;
  }

  async function live(given: Given = {}, ...channels: string[]): Promise<PubSubSession> {
    const session = create(given, ...channels);
    await session.start();
    return session;
  }

  /** Lets every pending step end, by itself or at its deadline. */
  async function passDeadlines(): Promise<void> {
    for (let stage = 0; stage < 4; stage++) {
      await settle();
      clock.advance(SETTINGS.closeTimeoutMs);
    }
    await settle();
  }

  function eventNames(): readonly string[] {
    return sink.events.map(({ event }) => event);
  }

  function messages(): readonly string[] {
    return sink.events.filter(({ event }) => event === "message").map(({ data }) => data);
  }
});

function throwing(): never {
  throw new Error("a bug");
}

type Deferred = ReturnType<typeof deferred<void>>;

class ScriptedTransport implements Transport {
  readonly calls: string[] = [];
  listener!: TransportListener;
  /** Signal of the first subscribe() call. */
  signal: AbortSignal | null = null;
  onSubscribe: () => Promise<void> = () => Promise.resolve();
  onUnsubscribe: () => Promise<void> = () => Promise.resolve();
  onClose: () => Promise<void> = () => Promise.resolve();
  onReset: () => void = () => {};

  attach(listener: TransportListener): this {
    this.listener = listener;
    return this;
  }

  subscribe(channels: readonly string[], closing: () => AbortSignal): Promise<void> {
    this.calls.push(`subscribe ${channels.join(",")}`);
    this.signal ??= closing();
    return this.onSubscribe();
  }

  unsubscribe(channels: readonly string[]): Promise<void> {
    this.calls.push(`unsubscribe ${channels.join(",")}`);
    return this.onUnsubscribe();
  }

  close(): Promise<void> {
    this.calls.push("close");
    return this.onClose();
  }

  reset(): void {
    this.calls.push("reset");
    this.onReset();
  }

  flush(): void {}

  readonly log = noLog;

  /** Delivers events that arrive in one event-loop turn. */
  deliver(channel: string, ...texts: readonly string[]): void {
    const events = texts.map((data) => plainEvent(channel, data));
    this.listener.deliver(new EventBatch(channel, events, true));
  }
}

/** Returns the calls of the transport, with the answer of the sink in order. */
function orderOf(transport: ScriptedTransport, sink: FakeSink): readonly string[] {
  const answer = sink.answer.bind(sink);
  sink.answer = (given) => {
    transport.calls.push("answer");
    answer(given);
  };
  return transport.calls;
}

/** Returns an error like ioredis does, with credentials that must not leak. */
function maxClients(): Error {
  return Object.assign(new Error("ERR max number of clients reached"), {
    name: "ReplyError",
    command: { name: "hello", args: ["3", "AUTH", "user", "secret"] },
  });
}

/** Returns an error like a transport does. */
function noperm(): RedisSseError {
  return new RedisSseError("SUBSCRIBE_REFUSED", "Redis refused the channel");
}
