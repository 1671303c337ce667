import { expect } from "chai";

import { parseEventId, tagOf } from "../../../lib/sse/event-id.js";
import type { StreamEvent } from "../../../lib/events/inbound-event.js";
import { settle } from "../../support/eventually.js";
import { SessionRig, type RigStream } from "../../support/session-rig.js";

const isMine = ({ data }: StreamEvent): boolean => data.startsWith("mine");

describe("a stream that gets some events only", () => {
  let rig: SessionRig;

  beforeEach(() => {
    rig = new SessionRig();
  });

  afterEach("leaves nothing", async () => {
    expect(await rig.close(), "what waits when all streams are closed").to.equal(0);
    expect(rig.clock.pending, "timers").to.equal(0);
  });

  it("gets those in order, each with the place of all before it", async () => {
    const stream = await rig.open({ filter: isMine }, "a");
    rig.publish("a", "mine 1", "other", "mine 2");
    rig.publish("a", "other");
    expect(stream.data).to.deep.equal(["mine 1", "mine 2"]);
    expect(stream.session.statistics).to.include({ messagesSent: 2, messagesDropped: 0 });
    const back = await rig.open({ lastEventId: stream.lastId }, "a");
    expect(back.data).to.deep.equal(["other"]);
  });

  it("writes nothing for an event that it leaves out", async () => {
    const stream = await rig.open({ filter: isMine, until: () => false }, "a", "p");
    const before = stream.sink.text;
    rig.publish("a", "other");
    rig.publish("p", "other");
    expect(stream.sink.text).to.equal(before);
  });

  it("is told its place by the next heartbeat, and resumes from there", async () => {
    const stream = await rig.open({ filter: isMine }, "a");
    rig.publish("a", ...Array.from({ length: 500 }, (_, index) => `other ${index}`));
    const before = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(before.length)).to.match(/^id: \S+\n\n$/);
    expect(stream.sink.events, "an id alone is no event").to.have.length(1);
    const told = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(told.length), "the next is a heartbeat").to.equal(":\n");
    rig.logs.trim("a", 400);
    const back = await rig.open({ filter: isMine, lastEventId: stream.lastId }, "a");
    expect(back.gaps).to.deep.equal([]);
    expect(JSON.parse(back.sink.events[0]!.data)).to.have.property("recovered", true);
  });

  it("is told with an event that a channel had no log six hours ago still: an id of long ago would be told a gap", async () => {
    const hours = (count: number): number => count * 3_600_000;
    const placeOfA = (id: string | undefined): unknown =>
      parseEventId(id ?? "")?.find(({ tag }) => tag === tagOf("a"));
    const stream = await rig.open({}, "a", "b");
    rig.lookAtNoLog("a", hours(6));
    rig.clock.advance(hours(5.9));
    rig.publish("b", "1");
    expect(placeOfA(stream.lastId)).to.deep.include({ epoch: "", since: 0 });
    rig.clock.advance(hours(0.2));
    expect(stream.sink.text, "no block without an event").to.match(/(:\n)+$/);
    rig.publish("b", "2");
    expect(placeOfA(stream.lastId)).to.deep.include({ epoch: "", since: hours(6) });
    rig.publish("a", "1");
    rig.lookAtNoLog("a", hours(12));
    rig.clock.advance(hours(7));
    rig.publish("b", "3");
    expect(placeOfA(stream.lastId)).to.deep.include({ offset: 1 });
  });

  it("is told its place in a channel that was added behind a gap with that gap, and with nothing before it", async () => {
    for (const data of ["1", "2", "3"]) rig.append("f", data);
    rig.complete("f", "4");
    rig.logs.trim("f", 2);
    const stream = await rig.open({}, "a");
    stream.sink.takes = false;
    rig.publish("a", "blocks");
    rig.publish("a", "before the gap");
    await stream.session.addChannel("f");
    stream.sink.drain();
    await settle();
    const knowsF = (id: string | undefined): boolean =>
      parseEventId(id ?? "")?.some(({ tag }) => tag === tagOf("f")) ?? false;
    const told = stream.sink.events.map(({ event, data, id }) => [
      event === "gap" ? event : data,
      knowsF(id),
    ]);
    expect(told.slice(1)).to.deep.equal([
      ["blocks", false],
      ["before the gap", false],
      ["gap", true],
      ["3", true],
      ["4", true],
    ]);
  });

  it("is told it also while events come that have no place", async () => {
    const stream = await rig.open({ filter: (event) => event.channel === "p" }, "a", "p");
    const before = stream.lastId;
    rig.publish("a", "other");
    for (let second = 0; second < 20; second++) {
      rig.publish("p", `${second}`);
      rig.clock.advance(1_000);
    }
    expect(stream.lastId).not.to.equal(before);
    const back = await rig.open({ lastEventId: stream.lastId }, "a");
    expect(back.data).to.deep.equal([]);
  });

  it("is told it with the next event of any channel, and then by no heartbeat", async () => {
    const stream = await rig.open({ filter: isMine }, "a", "b");
    rig.publish("a", "other");
    rig.publish("b", "mine");
    const back = await rig.open({ lastEventId: stream.lastId }, "a", "b");
    expect(back.data).to.deep.equal([]);
    const before = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(before.length)).to.equal(":\n");
  });

  it("is told its place when it is ended, to come back to it", async () => {
    const stream = await rig.open({ filter: isMine }, "a");
    rig.publish("a", "other");
    void stream.session.close("drain");
    const back = await rig.open({ lastEventId: stream.lastId }, "a");
    expect(back.data).to.deep.equal([]);
    expect(stream.sink.events.at(-1)?.event).to.equal("closing");
  });

  it("is told no place when the channel that had one was taken away", async () => {
    const stream = await rig.open({ filter: isMine }, "a", "p");
    rig.publish("a", "other");
    await stream.session.removeChannel("a");
    const before = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(before.length)).to.equal(":\n");
  });

  describe("whose client does not read", () => {
    async function stall(): Promise<RigStream> {
      const stream = await rig.open({ filter: isMine }, "a");
      stream.sink.takes = false;
      rig.publish("a", "mine: blocks");
      return stream;
    }

    it("is passed over what came meanwhile when it reads again", async () => {
      const stream = await stall();
      rig.publish("a", "mine 1", "other", "other");
      expect(stream.session.statistics.bufferedBytes).to.be.lessThan(300);
      stream.sink.drain();
      rig.clock.advance(16_000);
      const back = await rig.open({ lastEventId: stream.lastId }, "a");
      expect(back.data, "nothing is behind its place").to.deep.equal([]);
    });

    it("is not passed over what still waits for it", async () => {
      const stream = await stall();
      rig.publish("a", "other", "mine 1", "other");
      stream.sink.leave();
      const back = await rig.open({ lastEventId: stream.lastId }, "a");
      expect(back.data).to.deep.equal(["other", "mine 1", "other"]);
    });

    it("is passed over nothing of a channel that was taken away, and added anew", async () => {
      const stream = await rig.open({ filter: isMine }, "a", "b");
      stream.sink.takes = false;
      rig.publish("b", "mine: blocks");
      rig.publish("a", "other");
      await stream.session.removeChannel("a");
      rig.append("a", "other");
      await stream.session.addChannel("a");
      stream.sink.drain();
      rig.publish("a", "mine 1");
      const back = await rig.open({ lastEventId: stream.lastId }, "a", "b");
      expect(back.data).to.deep.equal([]);
    });
  });

  describe("and comes back", () => {
    it("gets of the log what it would have got live", async () => {
      const first = await rig.open({}, "a");
      const { lastId } = first;
      rig.publish("a", "mine 1", "other", "mine 2", "other");
      const transform = ({ data }: StreamEvent): { data: string } => ({ data: data.toUpperCase() });
      const back = await rig.open({ filter: isMine, transform, lastEventId: lastId }, "a");
      expect(back.data).to.deep.equal(["MINE 1", "MINE 2"]);
      rig.clock.advance(16_000);
      const again = await rig.open({ lastEventId: back.lastId }, "a");
      expect(again.data).to.deep.equal([]);
    });

    it("does not get again what it was told it cannot have", async () => {
      const filter = ({ data }: StreamEvent): boolean => {
        if (data === "broken") throw new Error("its own fault");
        return true;
      };
      const stream = await rig.open({ filter }, "a");
      const other = await rig.open({}, "a");
      rig.publish("a", "1", "broken");
      expect(stream.data).to.deep.equal(["1"]);
      expect(stream.gaps).to.deep.equal(["invalid a"]);
      expect(other.data).to.deep.equal(["1", "broken"]);
      expect(other.gaps, "of a stream that has no such rule").to.deep.equal([]);
      expect(rig.failedRules).to.deep.equal(["filter"]);
      expect(rig.gaps, "which are not what publishers sent").to.deep.equal({});
      const back = await rig.open({ filter, lastEventId: stream.lastId }, "a");
      expect(back.gaps).to.deep.equal([]);
    });
  });

  describe("and ends", () => {
    it("with its channel, whose last event is not for it", async () => {
      const stream = await rig.open({ filter: isMine }, "a");
      rig.publish("a", "mine 1");
      rig.complete("a", "other");
      expect(stream.session.closeReason).to.equal("completed");
      expect(stream.data).to.deep.equal(["mine 1"]);
    });

    for (const filter of [isMine, undefined]) {
      it(`in order where it did not read, ${filter === undefined ? "and" : "nor"} is the last for it`, async () => {
        const stream = await rig.open({ filter, until: ({ data }) => data === "end" }, "a");
        stream.sink.takes = false;
        rig.publish("a", "mine: blocks");
        rig.publish("a", "mine 1", "end", "mine 2");
        expect(stream.session.state).to.equal("subscribed");
        stream.sink.drain();
        expect(stream.session.closeReason).to.equal("completed");
        const last = filter === undefined ? ["end"] : [];
        expect(stream.data).to.deep.equal(["mine: blocks", "mine 1", ...last]);
      });
    }
  });

  describe("by a function that acts on the stream", () => {
    for (const reads of [true, false]) {
      it(`does not end with an event whose channel it takes away, ${reads ? "live" : "stalled"}`, async () => {
        const asked: string[] = [];
        let stream: RigStream | undefined;
        const filter = ({ channel, data }: StreamEvent): boolean => {
          if (data === "leave") void stream!.session.removeChannel(channel);
          return true;
        };
        const until = ({ data }: StreamEvent): boolean => asked.push(data) > 0 && data === "leave";
        stream = await rig.open({ filter, until }, "a", "p");
        if (!reads) {
          stream.sink.takes = false;
          rig.publish("p", "blocks");
        }
        rig.publish("a", "leave");
        rig.publish("p", "after");
        stream.sink.drain();
        expect(stream.session.state).to.equal("subscribed");
        expect(stream.data.at(-1)).to.equal("after");
        expect(asked).to.not.include("leave");
      });
    }

    it("gets nothing more when it closes the stream", async () => {
      let stream: RigStream | undefined;
      const filter = ({ data }: StreamEvent): boolean => {
        if (data === "close") void stream!.session.close();
        return true;
      };
      stream = await rig.open({ filter }, "a");
      rig.publish("a", "1", "close", "2");
      expect(stream.data).to.deep.equal(["1"]);
      expect(stream.session.closeReason).to.equal("app");
    });
  });

  describe("that ends with an event, and comes back", () => {
    const until = ({ data }: StreamEvent): boolean => data === "end";

    for (const filter of [undefined, ({ data }: StreamEvent): boolean => data !== "end"]) {
      const how = filter === undefined ? "the event" : "an event that it does not get";

      it(`has the id that ends the matter with ${how}, whatever else it listens to`, async () => {
        const stream = await rig.open({ until, filter }, "a", "b", "p");
        rig.publish("b", "1");
        rig.publish("a", "2", "end", "after");
        rig.publish("b", "after");
        const [before, closing] = stream.sink.text.split("event: closing");
        expect(stream.data.at(-1)).to.equal(filter === undefined ? "end" : "2");
        expect(before).to.match(/(data: end\nid: completed\n\n)?$/);
        expect(closing).to.include("completed");
      });

      it(`ends again behind ${how} when it had not got so far`, async () => {
        const stream = await rig.open({ until, filter }, "a", "b");
        rig.publish("a", "1");
        const { lastId } = stream;
        rig.publish("a", "2", "end", "after");
        const back = await rig.open({ until, filter, lastEventId: lastId }, "a", "b");
        expect(back.session.closeReason).to.equal("completed");
        expect(back.data).to.deep.equal(filter === undefined ? ["2", "end"] : ["2"]);
        expect(back.lastId).to.equal("completed");
      });

      it(`has no place behind ${how} when the server ends it while that waits`, async () => {
        const stream = await rig.open({ until, filter }, "a", "b");
        stream.sink.takes = false;
        rig.publish("b", "blocks");
        rig.publish("a", "end", "after");
        rig.publish("b", "after");
        void stream.session.close("drain");
        expect(stream.session.closeReason).to.equal("drain");
        expect(stream.lastId).to.equal("completed");
        expect(stream.data).to.not.include("after");
      });
    }

    it("gets the events of all channels before it, in whatever order they are read", async () => {
      const stream = await rig.open({ until }, "a", "b", "c");
      const { lastId } = stream;
      rig.publish("c", "c1");
      rig.publish("b", "b1");
      rig.publish("a", "a1", "end", "after");
      expect(stream.data).to.deep.equal(["c1", "b1", "a1", "end"]);
      const back = await rig.open({ until, lastEventId: lastId }, "a", "b", "c");
      expect(back.data).to.have.members(["c1", "b1", "a1", "end"]);
      expect(back.data.at(-1)).to.equal("end");
      expect([back.lastId, back.session.closeReason]).to.deep.equal(["completed", "completed"]);
    });

    it("ends with one event where two channels have such a one", async () => {
      const { lastId } = await rig.open({ until }, "a", "b");
      rig.publish("b", "b1", "end", "b2");
      rig.publish("a", "a1", "end", "a2");
      const back = await rig.open({ until, lastEventId: lastId }, "a", "b");
      expect(back.data).to.deep.equal(["a1", "b1", "end"]);
      expect(back.lastId).to.equal("completed");
    });

    it("has that id also of a channel of which nothing is kept", async () => {
      const stream = await rig.open({ until }, "p");
      rig.publish("p", "1", "end");
      expect(stream.sink.text).to.include("data: end\nid: completed\n\n");
    });

    it("gets nothing more where until itself ends the stream, or takes the channel away", async () => {
      const stream: RigStream = await rig.open(
        { until: ({ data }) => data === "leave" && (void stream.session.removeChannel("a"), true) },
        "a",
        "b",
      );
      rig.publish("a", "leave");
      rig.publish("b", "on");
      expect(stream.data).to.deep.equal(["on"]);
      expect(stream.session.state).to.equal("subscribed");
    });
  });
});
