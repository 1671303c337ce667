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
  describe(`a session and the messages of one turn, ${subscriptions}`, () => {
    let rig: TurnRig;

    beforeEach(() => {
      rig = new TurnRig(subscriptions);
    });

    afterEach(async () => {
      await rig.close();
      for (const { sink } of rig.streams) expect(sink.listeners).to.equal(0);
      expect(rig.clock.pending, "timers left").to.equal(0);
    });

    /** What was written since, and with how many writes. */
    function written({ sink }: TurnStream): () => { data: readonly string[]; writes: number } {
      const { writes, events } = sink;
      return () => ({
        data: sink.events.slice(events.length).map(({ event, data }) => (event === "message" ? data : event)),
        writes: sink.writes - writes,
      });
    }

    describe("writes them at once", () => {
      it("from several channels, in the order in which they came", async () => {
        const stream = await rig.live(["a", "b", "log"]);
        const since = written(stream);
        rig.say("a", "1", "2");
        rig.say("b", "3");
        rig.log("log");
        rig.say("a", "4");
        rig.log("log");
        await settle(1);
        expect(since()).to.deep.equal({ data: ["1", "2", "3", "log1", "4", "log2"], writes: 1 });
        expect(stream.session.statistics.messagesSent).to.equal(6);
      });

      it("with the id of each that has a place", async () => {
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
        // The parser tells an event without an id by none.
        expect(ids(both)).to.deep.equal([
          ["log1", idOf(["log", 1], ["log:2", 0])],
          ["log:21", idOf(["log", 1], ["log:2", 1])],
          ["plain", ""],
          ["log2", idOf(["log", 2], ["log:2", 1])],
        ]);
        // Of one channel alone both get the same batch, and each its own ids.
        rig.log("log");
        await settle(1);
        expect(alone.sink.events.at(-1)!.id).to.equal(idOf(["log", 3]));
        expect(both.sink.events.at(-1)!.id).to.equal(idOf(["log", 3], ["log:2", 1]));
      });

      it("also where it is asked about each of them", async () => {
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

    describe("in a channel with a history", () => {
      it("writes only what follows on what it has had", async () => {
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
        expect(since().writes, "of what it has had nothing is written").to.equal(1);
        expect(stream.session.statistics.messagesSent).to.equal(7);
      });

      it("writes what comes before a hole, then what is missing, each once", async () => {
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

      it("writes what overlaps with a log that is being read once", async () => {
        const stream = await rig.live(["log"]);
        rig.log("log");
        await settle(1);
        // The second is missed, and while the log is read, more comes: some of it is read as well.
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

      it("begins with what came since it was subscribed, though that is gathered as the log's place is read", async () => {
        const answered = deferred();
        rig.logs.before = () => answered.promise;
        const stream = rig.open(["log"]);
        await rig.quiet();
        rig.log("log");
        answered.resolve();
        await stream.started;
        await settle(1);
        expect(dataOf(stream)).to.deep.equal(["log1"]);
        // The same of a channel that is added to a stream.
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

      it("ends with the channel's last event though it waits as it is read", async () => {
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

      it("ends with the channel's last event, and says so in the same turn", async () => {
        const stream = await rig.live(["log"]);
        rig.log("log");
        rig.log("log", { ending: "completed" });
        rig.hear("log", 3);
        await settle(1);
        expect(stream.session.closeReason).to.equal("completed");
        expect(
          stream.sink.events.map(({ event, data }) => (event === "message" ? data : event)),
        ).to.deep.equal(["connected", "log1", "log2", "closing"]);
      });

      it("is given the next part of a page once it has taken the one before", async () => {
        const kilobyte = "x".repeat(1_000);
        for (let index = 0; index < 200; index++) rig.logs.append("log", { data: `${index} ${kilobyte}` });
        const stream = rig.open(["log"], { lastEventId: "earliest" });
        stream.sink.takes = false;
        await rig.quiet();
        for (const writes of [1, 2, 3, 4, 5]) {
          expect(stream.sink.writes).to.equal(writes);
          expect(stream.session.statistics.bufferedBytes, "nothing is kept for it").to.equal(0);
          stream.sink.step();
          await rig.quiet();
        }
        expect(stream.sink.writes).to.equal(5);
        expect(dataOf(stream)).to.have.length(200);
      });
    });

    describe("of which one is too large", () => {
      const tooLarge = "x".repeat(1_000_001);

      for (const name of ["a", "log"]) {
        it(`counts it on ${name} for each client that is told, once`, async () => {
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
          expect(rig.gaps, "one that left is told nothing").to.have.length(told.length);
          late.sink.drain();
          void ending.session.close();
          expect(rig.gaps, "with what waited, and with the farewell").to.have.length(told.length + 2);
          for (const { sink } of [...told, late, ending])
            expect(sink.events.filter(({ event }) => event === "gap")).to.have.length(1);
          await rig.quiet();
          expect(rig.gaps).to.have.length(told.length + 2);
        });
      }

      it("counts it for each that reads it in a log", async () => {
        const event = readLoggedEvent(
          "log",
          { event: undefined, data: tooLarge, position: { epoch: EPOCH, offset: 1 } },
          1_000_000,
        );
        rig.logs.add(event);
        for (let count = 0; count < 2; count++) await rig.live(["log"], { lastEventId: "earliest" });
        expect(rig.gaps).to.deep.equal([
          ["too-large", "log"],
          ["too-large", "log"],
        ]);
      });
    });

    describe("that ends in the middle of them", () => {
      it("by its own rule: nothing behind that event is written but the farewell, with the same write", async () => {
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

      it("by a sink that fails: nothing of what it gathered counts as sent", async () => {
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

    it("sends what is for it alone in order with those that were gathered", async () => {
      const stream = await rig.live(["a", "b"]);
      rig.say("a", "1");
      rig.say("b", "2");
      stream.session.send({ data: "3" });
      rig.say("a", "4");
      stream.session.send({ data: "5" });
      await settle(1);
      expect(dataOf(stream)).to.deep.equal(["1", "2", "3", "4", "5"]);
    });

    it("sends in order also what a rule sends while it is asked", async () => {
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

    describe("whose channels change within the turn", () => {
      it("writes what came before a channel was taken away, and none that comes after", async () => {
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

      it("runs in the context in which its stream was opened, whoever has events passed on", async () => {
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

      it("takes away the very channel of which it is given more, live or from a log", async () => {
        const leaveAt = (data: string): Promise<TurnStream> => {
          const leaving: Promise<TurnStream> = rig.live(["a", "log"], {
            lastEventId: "earliest",
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
        // Nor the event itself: the rule was asked before it was written.
        expect(dataOf(behind)).to.deep.equal(["log1", "1", "2", "3", "4"]);
        expect(dataOf(live)).to.deep.equal(["log1", "log2", "log3", "log4", "1", "log5"]);
      });

      it("has its rules asked about what came before a channel is added as if that were not there", async () => {
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

      it("gets what came within the turn of an addition before the id that tells of it, and is not blocked by that", async () => {
        const stream = await rig.live(["log", "a"]);
        const adding = stream.session.addChannel("log:2");
        // Nothing to ask Redis for: it is done within this turn.
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
        expect(stream.sink.events.at(-1)!.id, "of the places that it had then").to.equal(idOf(["log", 1]));
      });
    });

    it("that is blocked lets them wait, and gets them in order with few writes", async () => {
      const stream = await rig.live(["a", "b"]);
      const since = written(stream);
      stream.sink.takes = false;
      rig.say("a", "1");
      rig.say("b", "2");
      await settle(1);
      expect(since(), "taken, and the last before it drains").to.deep.equal({ data: ["1", "2"], writes: 1 });
      rig.say("b", "3", "4");
      rig.say("a", "5");
      await settle(1);
      rig.say("a", "6");
      await settle(1);
      expect(since().writes).to.equal(1);
      stream.sink.drain();
      expect(since()).to.deep.equal({ data: ["1", "2", "3", "4", "5", "6"], writes: 2 });
      expect(stream.session.statistics).to.include({ messagesSent: 6, bufferedBytes: 0 });
    });

    it("loses nothing of what came before its connection was lost in the same turn", async () => {
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

describe("sessions over one connection", () => {
  let rig: TurnRig;

  beforeEach(() => {
    rig = new TurnRig("shared");
  });

  afterEach(() => rig.close());

  it("write the same bytes to all who have a channel alone, plain or with ids", async () => {
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
