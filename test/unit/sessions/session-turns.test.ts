import { AsyncLocalStorage } from "node:async_hooks";

import { expect } from "chai";

import { encodeEventId, tagOf } from "../../../lib/sse/event-id.js";
import { readLoggedEvent } from "../../../lib/events/inbound-event.js";
import { deferred, settle } from "../../support/eventually.js";
import { EMPTY } from "../../support/log-state.js";
import { EPOCH } from "../../support/inbound-events.js";
import { dataOf, TurnRig, type TurnStream } from "../../support/turn-rig.js";

const idOf = (...places: readonly (readonly [channel: string, offset: number])[]): string =>
  encodeEventId(
    places.map(([channel, offset]) => ({
      tag: tagOf(channel),
      ...(offset === 0 ? EMPTY : { epoch: EPOCH, offset }),
    })),
  );

for (const subscriptions of ["shared", "dedicated"] as const) {
  describe(`PubSubSession with several events in one tick (${subscriptions})`, () => {
    let rig: TurnRig;

    beforeEach(() => {
      rig = new TurnRig(subscriptions);
    });

    afterEach(async () => {
      await rig.close();
      for (const { sink } of rig.streams) expect(sink.listeners).to.equal(0);
      expect(rig.clock.pending, "timers left").to.equal(0);
    });

    /** Returns the events that were written since the call, and the number of writes. */
    function written({ sink }: TurnStream): () => { data: readonly string[]; writes: number } {
      const { writes, events } = sink;
      return () => ({
        data: sink.events.slice(events.length).map(({ event, data }) => (event === "message" ? data : event)),
        writes: sink.writes - writes,
      });
    }

    describe("batch", () => {
      it("writes an id for each event with a position", async () => {
        const alone = await rig.live(["log"]);
        const both = await rig.live(["log", "log:2", "a"]);
        rig.log("log");
        rig.log("log:2");
        rig.say("a", "plain");
        rig.log("log");
        await settle(1);
        const ids = ({ sink }: TurnStream): unknown =>
          sink.events.slice(1).map(({ data, id }) => [data, id || ""]);
        expect(ids(alone)).to.deep.equal([
          ["log1", idOf(["log", 1])],
          ["log2", idOf(["log", 2])],
        ]);
        // The parser reports no id for an event without one.
        expect(ids(both)).to.deep.equal([
          ["log1", idOf(["log", 1], ["log:2", 0])],
          ["log:21", idOf(["log", 1], ["log:2", 1])],
          ["plain", ""],
          ["log2", idOf(["log", 2], ["log:2", 1])],
        ]);
        // If only one channel has events, both streams get the same batch with their own ids.
        rig.log("log");
        await settle(1);
        expect(alone.sink.events.at(-1)!.id).to.equal(idOf(["log", 3]));
        expect(both.sink.events.at(-1)!.id).to.equal(idOf(["log", 3], ["log:2", 1]));
      });

      it("writes all events at once also with rules", async () => {
        const stream = await rig.live(["a", "b"], {
          filter: ({ data }) => data !== "2",
          transform: (event) => ({ data: `(${event.data})` }),
        });
        const since = written(stream);
        rig.say("a", "1", "2");
        rig.say("b", "3");
        await settle(1);
        expect(since()).to.deep.equal({ data: ["(1)", "(3)"], writes: 1 });
        expect(stream.session.statistics.messagesSent).to.equal(2);
      });
    });

    describe("channel with history", () => {
      it("writes only events that follow its position", async () => {
        const stream = await rig.live(["log"]);
        for (let count = 0; count < 5; count++) rig.log("log");
        await settle(1);
        const since = written(stream);
        for (const offset of [4, 5]) rig.hear("log", offset);
        for (let count = 0; count < 2; count++) rig.log("log");
        await settle(1);
        expect(since()).to.deep.equal({ data: ["log6", "log7"], writes: 1 });
        expect(stream.sink.events.at(-1)!.id).to.equal(idOf(["log", 7]));
        for (const offset of [6, 7]) rig.hear("log", offset);
        await settle(1);
        expect(since().writes, "repeated events are not written").to.equal(1);
        expect(stream.session.statistics.messagesSent).to.equal(7);
      });

      it("writes the events before a hole, then the missing ones, each once", async () => {
        const stream = await rig.live(["log"]);
        rig.log("log");
        await settle(1);
        rig.log("log");
        rig.logs.append("log");
        rig.logs.append("log");
        rig.log("log");
        await settle(1);
        await rig.quiet();
        rig.log("log");
        await settle(1);
        expect(dataOf(stream)).to.deep.equal(["log1", "log2", "log3", "log4", "log5", "log6"]);
        expect(stream.sink.events.at(-1)!.id).to.equal(idOf(["log", 6]));
        expect(stream.sink.events.some(({ event }) => event === "gap")).to.equal(false);
      });

      it("writes events once that are both live and in the log that is being read", async () => {
        const stream = await rig.live(["log"]);
        rig.log("log");
        await settle(1);
        // The second event is missed. More events arrive during the read, and the read returns some of them too.
        const answered = deferred();
        rig.logs.before = () => answered.promise;
        rig.logs.append("log");
        rig.log("log");
        await settle(2);
        expect(dataOf(stream)).to.deep.equal(["log1"]);
        rig.log("log");
        rig.log("log");
        answered.resolve();
        rig.logs.before = () => Promise.resolve();
        await rig.quiet();
        rig.log("log");
        await settle(1);
        expect(dataOf(stream)).to.deep.equal(["log1", "log2", "log3", "log4", "log5", "log6"]);
      });

      it("writes events that arrive after SUBSCRIBE while the position of the log is being read", async () => {
        const answered = deferred();
        rig.logs.before = () => answered.promise;
        const stream = rig.open(["log"]);
        await rig.quiet();
        rig.log("log");
        answered.resolve();
        await stream.started;
        await settle(1);
        expect(dataOf(stream)).to.deep.equal(["log1"]);
        // The same is true for a channel that is added later.
        const added = deferred();
        rig.logs.before = () => added.promise;
        const adding = stream.session.addChannel("log:2");
        await rig.quiet();
        rig.log("log:2");
        added.resolve();
        await adding;
        await settle(1);
        expect(dataOf(stream)).to.deep.equal(["log1", "log:21"]);
      });

      it("ends with the channel's last event if it arrives during a read of the log", async () => {
        const stream = await rig.live(["log"]);
        const answered = deferred();
        rig.logs.before = () => answered.promise;
        rig.logs.append("log");
        rig.log("log");
        await settle(2);
        rig.log("log", { ending: "completed" });
        await settle(2);
        answered.resolve();
        await rig.quiet();
        expect(dataOf(stream)).to.deep.equal(["log1", "log2", "log3"]);
        expect(stream.session.closeReason).to.equal("completed");
      });

      it("writes the next part of a page only after the client has read the previous part", async () => {
        const kilobyte = "x".repeat(1_000);
        for (let index = 0; index < 200; index++) rig.logs.append("log", { data: `${index} ${kilobyte}` });
        const stream = rig.open(["log"], { from: "earliest" });
        stream.sink.takes = false;
        await rig.quiet();
        for (const writes of [1, 2, 3, 4, 5]) {
          expect(stream.sink.writes).to.equal(writes);
          expect(stream.session.statistics.bufferedBytes, "nothing is buffered").to.equal(0);
          stream.sink.step();
          await rig.quiet();
        }
        expect(stream.sink.writes).to.equal(5);
        expect(dataOf(stream)).to.have.length(200);
      });
    });

    describe("event that is too large", () => {
      const tooLarge = "x".repeat(1_000_001);

      for (const name of ["a", "log"]) {
        it(`is counted once for each client that gets the gap (channel ${name})`, async () => {
          const filter = (): boolean => true;
          const told = [
            await rig.live([name]),
            await rig.live([name, "b"]),
            await rig.live([name], { filter }),
          ];
          const late = await rig.live([name]);
          const gone = await rig.live([name]);
          const ending = await rig.live([name]);
          await rig.live(["b"]);
          for (const { session, sink } of [late, gone, ending]) {
            sink.takes = false;
            session.send({ data: "blocks" });
          }
          if (name === "log") rig.log(name, { data: tooLarge });
          else rig.say(name, "1", tooLarge, "2");
          await settle(1);
          const gap = ["too-large", name];
          expect(rig.gaps).to.deep.equal(told.map(() => gap));
          gone.sink.leave();
          expect(rig.gaps, "a disconnected client gets no gap").to.have.length(told.length);
          late.sink.drain();
          void ending.session.close();
          expect(rig.gaps, "after the drain and with the closing event").to.have.length(told.length + 2);
          for (const { sink } of [...told, late, ending])
            expect(sink.events.filter(({ event }) => event === "gap")).to.have.length(1);
          await rig.quiet();
          expect(rig.gaps).to.have.length(told.length + 2);
        });
      }

      it("is counted for each client that gets it by replay", async () => {
        const event = readLoggedEvent(
          "log",
          { event: undefined, data: tooLarge, position: { epoch: EPOCH, offset: 1 } },
          1_000_000,
        );
        rig.logs.add(event);
        for (let count = 0; count < 2; count++) await rig.live(["log"], { from: "earliest" });
        expect(rig.gaps).to.deep.equal([
          ["too-large", "log"],
          ["too-large", "log"],
        ]);
      });
    });

    describe("stream that ends in the middle of a tick", () => {
      it("writes only the closing event after the event that until selects, in the same write", async () => {
        const stream = await rig.live(["a", "b"], { until: ({ data }) => data === "last" });
        const since = written(stream);
        rig.say("a", "1");
        rig.say("b", "2", "last", "too late");
        rig.say("a", "too late as well");
        await settle(1);
        expect(stream.session.closeReason).to.equal("completed");
        expect(since()).to.deep.equal({ data: ["1", "2", "last", "closing"], writes: 1 });
        expect(stream.sink.ended).to.equal(true);
        await rig.quiet();
        expect(since().writes).to.equal(1);
        expect(stream.session.statistics).to.include({ messagesSent: 3, bufferedBytes: 0 });
        expect(stream.session.statistics.bytesSent).to.equal(Buffer.byteLength(stream.sink.text));
      });

      it("counts no event of the batch as sent if the sink throws", async () => {
        const stream = await rig.live(["a", "b"]);
        stream.sink.write = () => {
          throw new Error("write failed");
        };
        rig.say("a", "1", "2");
        rig.say("b", "3");
        await settle(1);
        expect(stream.session.closeReason).to.equal("write-error");
        expect(stream.session.statistics).to.include({ messagesSent: 0, messagesDropped: 3 });
      });
    });

    it("writes events that a rule sends in order with the other events", async () => {
      const stream: TurnStream = await rig.live(["a", "b"], {
        filter: ({ data }) => {
          if (data === "2") stream.session.send({ data: "before 2" });
          return true;
        },
        until: ({ data }) => {
          if (data === "2") stream.session.send({ data: "still before 2" });
          return false;
        },
      });
      rig.say("a", "1", "2", "3");
      rig.say("b", "4");
      await settle(1);
      expect(dataOf(stream)).to.deep.equal(["1", "before 2", "still before 2", "2", "3", "4"]);
    });

    describe("channel changes within a tick", () => {
      it("writes the events of a channel before its removal and none after it", async () => {
        const stream = await rig.live(["a", "b"]);
        rig.say("b", "1");
        rig.say("a", "2");
        const removed = stream.session.removeChannel("b");
        rig.say("b", "3");
        rig.say("a", "4");
        await rig.quiet();
        await removed;
        expect(dataOf(stream)).to.deep.equal(["1", "2", "4"]);
      });

      it("calls the rules in the async context in which the stream was opened", async () => {
        const request = new AsyncLocalStorage<string>();
        const seen: (string | undefined)[] = [];
        const note = (): boolean => seen.push(request.getStore()) > 0;
        const stream = await request.run("its own", () =>
          rig.live(["a"], {
            filter: note,
            transform: ({ data }) => (note(), { data }),
            until: () => !note(),
          }),
        );
        rig.say("a", "1");
        request.run("another", () => rig.flush());
        expect(dataOf(stream)).to.deep.equal(["1"]);
        expect(seen).to.deep.equal(["its own", "its own", "its own"]);
      });

      it("lets a filter remove the channel of its event, live or during a replay", async () => {
        const leaveAt = (data: string): Promise<TurnStream> => {
          const leaving: Promise<TurnStream> = rig.live(["a", "log"], {
            from: "earliest",
            filter: (event) => {
              if (event.data === data) void stream().session.removeChannel(event.channel);
              return true;
            },
          });
          const stream = (): TurnStream => rig.streams.at(-1)!;
          return leaving;
        };
        for (let count = 0; count < 4; count++) rig.logs.append("log");
        const behind = await leaveAt("log2");
        const live = await leaveAt("2");
        rig.say("a", "1", "2", "3");
        rig.log("log");
        rig.say("a", "4");
        await rig.quiet();
        // The event itself is not written either, because the rule runs before the write.
        expect(dataOf(behind)).to.deep.equal(["log1", "1", "2", "3", "4"]);
        expect(dataOf(live)).to.deep.equal(["log1", "log2", "log3", "log4", "1", "log5"]);
      });

      it("calls the rules for earlier events before it adds a channel", async () => {
        const stream: TurnStream = await rig.live(["a"], {
          filter: () => {
            void stream.session.removeChannel("b");
            return true;
          },
        });
        rig.say("a", "1");
        const added = stream.session.addChannel("b");
        await rig.quiet();
        await added;
        expect([...stream.session.channels]).to.deep.equal(["a", "b"]);
      });

      it("writes events from the tick of addChannel() before the id with the new channel, also if it blocks", async () => {
        const stream = await rig.live(["log", "a"]);
        const adding = stream.session.addChannel("log:2");
        // The stream already has this channel, so the call ends within this tick.
        const added = stream.session.addChannel("a");
        stream.sink.takes = false;
        rig.log("log");
        await added;
        expect(dataOf(stream)).to.deep.equal(["log1"]);
        await rig.quiet();
        await adding;
        stream.sink.drain();
        await rig.quiet();
        expect(dataOf(stream)).to.deep.equal(["log1"]);
        expect(stream.sink.events.at(-1)!.id, "without the new channel").to.equal(idOf(["log", 1]));
      });
    });

    it("writes events that arrive in the same tick before the Redis connection is lost", async () => {
      const stream = await rig.live(["a", "b"]);
      const since = written(stream);
      rig.say("a", "1");
      rig.say("b", "2");
      rig.redis.drops();
      rig.redis.returns();
      await rig.quiet();
      rig.say("a", "3");
      await settle(1);
      expect(since().data).to.deep.equal(
        subscriptions === "shared" ? ["1", "2", "gap", "3"] : ["1", "2", "error", "closing"],
      );
    });
  });
}

describe("several PubSubSessions on one connection", () => {
  let rig: TurnRig;

  beforeEach(() => {
    rig = new TurnRig("shared");
  });

  afterEach(() => rig.close());

  it("write the same buffer to all streams with a single channel, with and without ids", async () => {
    for (const channel of ["a", "log"]) {
      const streams = [await rig.live([channel]), await rig.live([channel]), await rig.live([channel])];
      const payloads = streams.map(({ sink }) => {
        const list: unknown[] = [];
        const write = sink.write.bind(sink);
        sink.write = (block) => {
          list.push(block.payload);
          return write(block);
        };
        return list;
      });
      if (channel === "a") rig.say("a", "1", "2");
      else for (let count = 0; count < 2; count++) rig.log("log");
      await settle(1);
      expect(payloads.map((list) => list.length)).to.deep.equal([1, 1, 1]);
      expect(payloads[0]![0]).to.be.instanceOf(Buffer);
      for (const list of payloads) expect(list[0]).to.equal(payloads[0]![0]);
    }
  });
});
