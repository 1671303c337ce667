import { AsyncLocalStorage } from "node:async_hooks";

import { expect } from "chai";

import { parseEventId, tagOf } from "../../../lib/sse/event-id.js";
import type { SlowConsumerPolicy } from "../../../lib/backpressure/slow-consumer-policy.js";
import { parseBlocks } from "../../support/event-reader.js";
import { deferred, settle } from "../../support/eventually.js";
import { SessionRig, type RigStream } from "../../support/session-rig.js";

const KILOBYTE = "x".repeat(1_000);
/** Approximate buffered size of an event of one kilobyte. */
const COUNTED = 2_250;

describe("PubSubSession with a slow client", () => {
  let rig: SessionRig;

  beforeEach(() => {
    rig = new SessionRig({ maxBufferedBytes: 10_000 });
  });

  afterEach("leaves nothing", async () => {
    expect(await rig.close(), "buffered bytes when all streams are closed").to.equal(0);
    expect(rig.clock.pending, "timers").to.equal(0);
  });

  /** Opens a stream whose client has stopped reading. */
  async function stall(slowConsumer: SlowConsumerPolicy, ...channels: string[]): Promise<RigStream> {
    const stream = await rig.open({ slowConsumer }, ...channels);
    stream.sink.takes = false;
    // The sink accepts this write and no other one until it drains.
    stream.session.send({ data: "blocks" });
    return stream;
  }

  const after = (stream: RigStream): readonly string[] => stream.data.slice(1);

  describe("disconnect", () => {
    it("closes the stream at the buffer limit, and the client resumes without a loss", async () => {
      const stream = await stall("disconnect", "a");
      for (let index = 0; index < 10; index++) rig.publish("a", `${index} ${KILOBYTE}`);
      expect(stream.session.closeReason).to.equal("slow-consumer");
      expect(rig.budget.dropped, "history can replay the events").to.equal(0);
      const back = await rig.open({ lastEventId: stream.lastId }, "a");
      expect(back.data).to.have.length(10);
      expect(back.gaps).to.deep.equal([]);
    });
  });

  describe("drop-oldest", () => {
    it("sends a gap with the id after the dropped events, then the newest events", async () => {
      const stream = await stall("drop-oldest", "a");
      for (let index = 1; index <= 10; index++) rig.publish("a", `${index} ${KILOBYTE}`);
      expect(stream.session.state).to.equal("subscribed");
      expect(rig.budget.dropped, "before the client gets the gap").to.equal(7);
      stream.sink.drain();
      expect(rig.budget.dropped).to.equal(7);
      expect(after(stream).map((data) => parseInt(data, 10))).to.deep.equal([8, 9, 10]);
      expect(stream.gaps).to.deep.equal(["slow-consumer a"]);
      expect(idOf(stream, "gap")).to.deep.equal({ a: 7 });
      expect(stream.session.statistics).to.include({ messagesDropped: 7, bufferedBytes: 0 });
      expect(rig.gaps).to.deep.equal({ "slow-consumer": 1 });
    });

    it("sends a gap even if no event is left in the buffer", async () => {
      rig = new SessionRig({ maxTotalBytes: 10_000 });
      const stream = await stall("drop-oldest", "a");
      rig.publish("a", "y".repeat(9_000));
      expect(stream.session.statistics.bufferedBytes).to.equal(0);
      stream.sink.drain();
      expect(stream.gaps).to.deep.equal(["slow-consumer a"]);
      expect(idOf(stream, "gap")).to.deep.equal({ a: 1 });
    });

    it("sends the gap also if the stream is closed before the client reads again", async () => {
      const stream = await stall("drop-oldest", "a");
      for (let index = 1; index <= 10; index++) rig.publish("a", `${index} ${KILOBYTE}`);
      void stream.session.close("drain");
      expect(stream.sink.events.map(({ event }) => event)).to.deep.equal([
        "connected",
        "message",
        "gap",
        "message",
        "message",
        "message",
        "closing",
      ]);
    });

    it("keeps events of session.send() in order with the remaining events", async () => {
      const stream = await stall("drop-oldest", "a");
      rig.publish("a", `1 ${KILOBYTE}`);
      stream.session.send({ data: "own 1" });
      for (const index of [2, 3, 4]) rig.publish("a", `${index} ${KILOBYTE}`);
      stream.session.send({ data: "own 2" });
      rig.publish("a", `5 ${KILOBYTE}`);
      stream.sink.drain();
      expect(after(stream).map((data) => data.slice(0, 5).trim())).to.deep.equal([
        "own 1",
        "3 xxx",
        "4 xxx",
        "own 2",
        "5 xxx",
      ]);
    });

    it("keeps the last event of a channel and ends after it", async () => {
      const stream = await stall("drop-oldest", "a", "b");
      rig.complete("a", "the end of a");
      for (let index = 1; index <= 10; index++) rig.publish("b", `${index} ${KILOBYTE}`);
      rig.complete("b");
      expect(stream.session.state).to.equal("subscribed");
      stream.sink.drain();
      expect(after(stream)[0]).to.equal("the end of a");
      expect(stream.gaps).to.deep.equal(["slow-consumer b"]);
      expect(stream.session.closeReason).to.equal("completed");
    });
  });

  describe("latest", () => {
    it("sends the newest event of each channel", async () => {
      const stream = await stall("latest", "a", "p");
      for (const index of [1, 2, 3]) rig.publish("a", `a ${index}`);
      for (const index of [1, 2]) rig.publish("p", `p ${index}`);
      stream.sink.drain();
      expect(after(stream)).to.deep.equal(["a 3", "p 2"]);
      expect(stream.gaps).to.deep.equal(["slow-consumer a", "slow-consumer p"]);
      expect(rig.gaps).to.deep.equal({ "slow-consumer": 2 });
    });

    it("calls latestBy in the async context in which the stream was opened", async () => {
      const request = new AsyncLocalStorage<string>();
      const seen: (string | undefined)[] = [];
      const latestBy = (): string => (seen.push(request.getStore()), "one");
      const stream = await request.run("its own", () => stall({ latestBy }, "a"));
      request.run("another", () => rig.publish("a", "1", "2"));
      stream.sink.drain();
      expect(after(stream)).to.deep.equal(["2"]);
      expect(seen).to.deep.equal(["its own", "its own"]);
    });

    it("does not replace the newest event by an event that the filter drops", async () => {
      const stream = await rig.open(
        {
          slowConsumer: "latest",
          filter: ({ data }) => !data.startsWith("secret"),
          until: ({ data }) => data === "secret end",
        },
        "a",
      );
      stream.sink.takes = false;
      rig.publish("a", "blocks");
      rig.publish("a", "mine 1");
      rig.publish("a", "mine 2");
      rig.publish("a", "secret 1");
      stream.sink.drain();
      expect(after(stream)).to.deep.equal(["mine 2"]);
      expect(stream.gaps).to.deep.equal(["slow-consumer a"]);
      rig.publish("a", "secret end");
      expect(stream.session.closeReason).to.equal("completed");
    });
  });

  for (const policy of [
    "drop-oldest",
    "latest",
    { latestBy: ({ data }: { data: string }): string => data.slice(0, 1) },
  ] as const) {
    const name = typeof policy === "object" ? "latestBy" : policy;

    describe(`${name}, with an event larger than the buffer limit`, () => {
      const large = "y".repeat(9_000);

      it("sends the large event as the newest one", async () => {
        const stream = await stall(policy, "a");
        rig.publish("a", "old");
        rig.publish("a", large);
        expect(stream.session.state).to.equal("subscribed");
        expect(rig.budget.bytes).to.equal(stream.session.statistics.bufferedBytes);
        stream.sink.drain();
        expect(after(stream)).to.deep.equal([large]);
        expect(stream.gaps).to.deep.equal(["slow-consumer a"]);
        expect(rig.budget.bytes).to.equal(0);
      });

      it("closes the stream if events that must not be dropped exceed the limit", async () => {
        const stream = await stall(policy, "a");
        rig.publish("a", large);
        for (let index = 0; index < 5; index++) stream.session.send({ data: KILOBYTE });
        expect(stream.session.closeReason).to.equal("slow-consumer");
      });

      it("buffers nothing of a channel after it was removed", async () => {
        const stream = await stall(policy, "a", "b");
        rig.publish("a", large);
        await stream.session.removeChannel("a");
        expect(stream.session.statistics.bufferedBytes).to.equal(0);
        for (let index = 0; index < 5; index++) stream.session.send({ data: KILOBYTE });
        expect(stream.session.closeReason).to.equal("slow-consumer");
      });
    });
  }

  for (const policy of ["drop-oldest", "latest"] as const) {
    it(`ends after the event that until selects, even if more events follow (${policy})`, async () => {
      const stream = await rig.open({ slowConsumer: policy, until: ({ data }) => data === "done" }, "a");
      stream.sink.takes = false;
      rig.publish("a", "blocks");
      rig.publish("a", "done");
      for (let index = 0; index < 10; index++) rig.publish("a", `${index} ${KILOBYTE}`);
      stream.sink.drain();
      await settle();
      expect(after(stream)).to.deep.equal(["done"]);
      expect(stream.session.closeReason).to.equal("completed");
    });

    it(`replays all later events for every id that the client has received (${policy})`, async () => {
      const stream = await stall(policy, "a", "b");
      for (let index = 1; index <= 9; index++)
        rig.publish(index % 3 === 0 ? "b" : "a", `${index} ${KILOBYTE}`);
      stream.sink.drain();
      rig.publish("a", "live");
      const blocks = parseBlocks(stream.sink.text);
      const ids = new Set(blocks.flatMap(({ id }) => id ?? []));
      for (const id of ids) {
        const had = blocks.slice(0, blocks.findIndex((block) => block.id === id) + 1);
        const seen = new Set(had.map(({ data = "" }) => data).filter((data) => /^\d /.test(data)));
        const back = await rig.open({ lastEventId: id }, "a", "b");
        expect(back.gaps).to.deep.equal([]);
        for (const data of back.data) expect(seen.has(data), data.slice(0, 9)).to.equal(false);
        // The replay contains every event after the id and no event before it.
        if (!had.some(({ event }) => event === "gap")) expect(back.data).to.have.length(10 - seen.size);
        await back.session.close();
      }
      expect(ids.size).to.be.greaterThan(3);
    });
  }

  describe("total buffer limit", () => {
    const budgetOf = (events: number): SessionRig => new SessionRig({ maxTotalBytes: events * COUNTED });

    it("drops the events of the stream with the largest buffer and keeps the events of the others", async () => {
      rig = budgetOf(6);
      const large = await stall("drop-oldest", "a", "b");
      const small = await stall("drop-oldest", "b");
      rig.publish("a", KILOBYTE);
      for (const index of [1, 2, 3]) rig.publish("b", `${index} ${KILOBYTE}`);
      expect(rig.budget.exceeded).to.equal(1);
      expect(large.session.statistics.bufferedBytes + small.session.statistics.bufferedBytes).to.equal(
        rig.budget.bytes,
      );
      for (const each of [large, small]) each.sink.drain();
      expect(after(small)).to.have.length(3);
      expect(small.gaps).to.deep.equal([]);
      expect(large.gaps).to.have.members(["slow-consumer a", "slow-consumer b"]);
      expect(rig.budget.bytes).to.equal(0);
    });

    it("closes the stream with the largest buffer if its policy drops nothing", async () => {
      rig = budgetOf(6);
      const large = await stall("disconnect", "a", "b");
      const small = await stall("disconnect", "b");
      rig.publish("a", KILOBYTE);
      for (const index of [1, 2, 3]) rig.publish("b", `${index} ${KILOBYTE}`);
      expect(large.session.closeReason).to.equal("slow-consumer");
      expect(small.session.state).to.equal("subscribed");
      expect(rig.budget.bytes).to.equal(small.session.statistics.bufferedBytes);
      small.sink.drain();
      expect(after(small)).to.have.length(3);
    });

    it("closes a stream that has no events to drop", async () => {
      rig = budgetOf(4);
      const stream = await stall("drop-oldest", "a");
      for (let index = 0; index < 5; index++) stream.session.send({ data: KILOBYTE });
      expect(stream.session.closeReason).to.equal("slow-consumer");
      expect(rig.budget.bytes).to.equal(0);
    });

    it("does not close a stream that still replays, because it can read the dropped events again", async () => {
      rig = budgetOf(3);
      const stream = await rig.open({}, "a");
      const gate = deferred();
      rig.logs.before = () => gate.promise;
      rig.append("a", "missed");
      for (let index = 0; index < 6; index++) rig.publish("a", `${index} ${KILOBYTE}`);
      expect(rig.budget.exceeded).to.be.greaterThan(0);
      expect(stream.session.state).to.equal("subscribed");
      gate.resolve();
      await settle();
      expect(stream.data.map((data) => data.slice(0, 6).trim())).to.deep.equal([
        "missed",
        ...Array.from({ length: 6 }, (_, index) => `${index} xxxx`),
      ]);
      expect(stream.gaps).to.deep.equal([]);
      expect(rig.budget.bytes).to.equal(0);
    });
  });

  describe("total buffered bytes", () => {
    it("are 0 after a stream has replayed its missed events", async () => {
      const stream = await rig.open({}, "a");
      const gate = deferred();
      rig.logs.before = () => gate.promise;
      rig.append("a", "missed");
      rig.publish("a", "held");
      expect(rig.budget.bytes).to.be.greaterThan(0);
      gate.resolve();
      await settle();
      expect(stream.data).to.deep.equal(["missed", "held"]);
      expect(rig.budget.bytes).to.equal(0);
    });

    it("are 0 as soon as a stream is closing, even if its client has not read the last bytes", async () => {
      const stream = await stall("disconnect", "a");
      stream.sink.closesOnEnd = false;
      rig.publish("a", KILOBYTE);
      void stream.session.close("drain");
      expect(stream.session.state).to.equal("closing");
      expect(rig.budget.bytes).to.equal(0);
      expect(stream.session.statistics.messagesDropped).to.equal(0);
    });

    it("are 0 after the channel was removed", async () => {
      const stream = await stall("disconnect", "a", "b");
      rig.publish("a", KILOBYTE);
      await stream.session.removeChannel("a");
      expect(rig.budget.bytes).to.equal(0);
    });
  });
});

/** Returns the offsets in the id of the first event of a type, by channel. */
function idOf(stream: RigStream, type: string): Record<string, number> {
  const id = stream.sink.events.find(({ event }) => event === type)?.id;
  return Object.fromEntries(
    ["a", "b"].flatMap((channel) => {
      const entry = parseEventId(id ?? "")?.find(({ tag }) => tag === tagOf(channel));
      return entry === undefined ? [] : [[channel, entry.offset]];
    }),
  );
}
