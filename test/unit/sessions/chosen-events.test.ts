import { expect } from "chai";

import { parseEventId, tagOf } from "../../../lib/sse/event-id.js";
import type { StreamEvent } from "../../../lib/events/inbound-event.js";
import { settle } from "../../support/eventually.js";
import { SessionRig, type RigStream } from "../../support/session-rig.js";

const isMine = ({ data }: StreamEvent): boolean => data.startsWith("mine");

describe("PubSubSession with filter and until", () => {
  let rig: SessionRig;

  beforeEach(() => {
    rig = new SessionRig();
  });

  afterEach("leaves nothing", async () => {
    expect(await rig.close(), "buffered bytes when all streams are closed").to.equal(0);
    expect(rig.clock.pending, "timers").to.equal(0);
  });

  it("sends the selected events in order, each with an id that covers all events before it", async () => {
    const stream = await rig.open({ filter: isMine }, "a");
    rig.publish("a", "mine 1", "other", "mine 2");
    rig.publish("a", "other");
    expect(stream.data).to.deep.equal(["mine 1", "mine 2"]);
    expect(stream.session.statistics).to.include({ messagesSent: 2, messagesDropped: 0 });
    const back = await rig.open({ lastEventId: stream.lastId }, "a");
    expect(back.data).to.deep.equal(["other"]);
  });

  it("writes nothing for a dropped event", async () => {
    const stream = await rig.open({ filter: isMine, until: () => false }, "a", "p");
    const before = stream.sink.text;
    rig.publish("a", "other");
    rig.publish("p", "other");
    expect(stream.sink.text).to.equal(before);
  });

  it("sends the new id with the next heartbeat, so that the client can resume after dropped events", async () => {
    const stream = await rig.open({ filter: isMine }, "a");
    rig.publish("a", ...Array.from({ length: 500 }, (_, index) => `other ${index}`));
    const before = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(before.length)).to.match(/^id: \S+\n\n$/);
    expect(stream.sink.events, "a block with only an id is not an event").to.have.length(1);
    const told = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(told.length), "the next block is a heartbeat").to.equal(":\n");
    rig.logs.trim("a", 400);
    const back = await rig.open({ filter: isMine, lastEventId: stream.lastId }, "a");
    expect(back.gaps).to.deep.equal([]);
    expect(JSON.parse(back.sink.events[0]!.data)).to.have.property("recovered", true);
  });

  it("updates the time at which a channel had no log in the id of an event every six hours", async () => {
    const hours = (count: number): number => count * 3_600_000;
    const placeOfA = (id: string | undefined): unknown =>
      parseEventId(id ?? "")?.find(({ tag }) => tag === tagOf("a"));
    const stream = await rig.open({}, "a", "b");
    rig.lookAt("a", hours(6));
    rig.clock.advance(hours(5.9));
    rig.publish("b", "1");
    expect(placeOfA(stream.lastId)).to.deep.include({ epoch: "", since: 0 });
    rig.clock.advance(hours(0.2));
    expect(stream.sink.text, "no block without an event").to.match(/(:\n)+$/);
    rig.publish("b", "2");
    expect(placeOfA(stream.lastId)).to.deep.include({ epoch: "", since: hours(6) });
    rig.publish("a", "1");
    rig.lookAt("a", hours(12));
    rig.clock.advance(hours(7));
    rig.publish("b", "3");
    expect(placeOfA(stream.lastId)).to.deep.include({ offset: 1 });
  });

  it("adds the position of a channel that was added with a gap to the id of that gap, not earlier", async () => {
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

  it("sends the new id also while only events without a position arrive", async () => {
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

  it("sends the new id with the next event of any channel instead of a heartbeat", async () => {
    const stream = await rig.open({ filter: isMine }, "a", "b");
    rig.publish("a", "other");
    rig.publish("b", "mine");
    const back = await rig.open({ lastEventId: stream.lastId }, "a", "b");
    expect(back.data).to.deep.equal([]);
    const before = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(before.length)).to.equal(":\n");
  });

  it("sends the new id when the server closes the stream", async () => {
    const stream = await rig.open({ filter: isMine }, "a");
    rig.publish("a", "other");
    void stream.session.close("drain");
    const back = await rig.open({ lastEventId: stream.lastId }, "a");
    expect(back.data).to.deep.equal([]);
    expect(stream.sink.events.at(-1)?.event).to.equal("closing");
  });

  it("sends no id after the only channel with history was removed", async () => {
    const stream = await rig.open({ filter: isMine }, "a", "p");
    rig.publish("a", "other");
    await stream.session.removeChannel("a");
    const before = stream.sink.text;
    rig.clock.advance(16_000);
    expect(stream.sink.text.slice(before.length)).to.equal(":\n");
  });

  describe("slow client", () => {
    async function stall(): Promise<RigStream> {
      const stream = await rig.open({ filter: isMine }, "a");
      stream.sink.takes = false;
      rig.publish("a", "mine: blocks");
      return stream;
    }

    it("gets an id after the dropped events when it reads again", async () => {
      const stream = await stall();
      rig.publish("a", "mine 1", "other", "other");
      expect(stream.session.statistics.bufferedBytes).to.be.lessThan(300);
      stream.sink.drain();
      rig.clock.advance(16_000);
      const back = await rig.open({ lastEventId: stream.lastId }, "a");
      expect(back.data, "no event after this id").to.deep.equal([]);
    });

    it("gets no id after events that are still buffered", async () => {
      const stream = await stall();
      rig.publish("a", "other", "mine 1", "other");
      stream.sink.leave();
      const back = await rig.open({ lastEventId: stream.lastId }, "a");
      expect(back.data).to.deep.equal(["other", "mine 1", "other"]);
    });

    it("skips no event of a channel that was removed and added again", async () => {
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

  describe("resumed stream", () => {
    it("applies the rules to replayed events as to live events", async () => {
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

    it("does not repeat a gap for an event whose filter threw", async () => {
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
      expect(other.gaps, "of a stream without this rule").to.deep.equal([]);
      expect(rig.failedRules).to.deep.equal(["filter"]);
      expect(rig.gaps, "rule errors are not counted as gaps").to.deep.equal({});
      const back = await rig.open({ filter, lastEventId: stream.lastId }, "a");
      expect(back.gaps).to.deep.equal([]);
    });
  });

  describe("end of the stream", () => {
    it("ends with its channel even if it drops the channel's last event", async () => {
      const stream = await rig.open({ filter: isMine }, "a");
      rig.publish("a", "mine 1");
      rig.complete("a", "other");
      expect(stream.session.closeReason).to.equal("completed");
      expect(stream.data).to.deep.equal(["mine 1"]);
    });

    for (const filter of [isMine, undefined]) {
      it(`ends a stalled stream in order ${filter === undefined ? "with" : "without"} its last event`, async () => {
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

  describe("rule that changes the stream", () => {
    for (const reads of [true, false]) {
      it(`does not end with an event whose channel the rule removes (${reads ? "live" : "stalled"})`, async () => {
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

    it("sends no more events after the rule closes the stream", async () => {
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

  describe("reconnect after until", () => {
    const until = ({ data }: StreamEvent): boolean => data === "end";

    for (const filter of [undefined, ({ data }: StreamEvent): boolean => data !== "end"]) {
      const how = filter === undefined ? "the last event" : "a last event that the filter drops";

      it(`gets the id "completed" with ${how}, also with other channels`, async () => {
        const stream = await rig.open({ until, filter }, "a", "b", "p");
        rig.publish("b", "1");
        rig.publish("a", "2", "end", "after");
        rig.publish("b", "after");
        const [before, closing] = stream.sink.text.split("event: closing");
        expect(stream.data.at(-1)).to.equal(filter === undefined ? "end" : "2");
        expect(before).to.match(/(data: end\nid: completed\n\n)?$/);
        expect(closing).to.include("completed");
      });

      it(`ends after ${how} when it resumes before that event`, async () => {
        const stream = await rig.open({ until, filter }, "a", "b");
        rig.publish("a", "1");
        const { lastId } = stream;
        rig.publish("a", "2", "end", "after");
        const back = await rig.open({ until, filter, lastEventId: lastId }, "a", "b");
        expect(back.session.closeReason).to.equal("completed");
        expect(back.data).to.deep.equal(filter === undefined ? ["2", "end"] : ["2"]);
        expect(back.lastId).to.equal("completed");
      });

      it(`gets no id after ${how} if the server closes the stream while it is buffered`, async () => {
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

    it("gets the events of all channels before the last event, in any order of reads", async () => {
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

    it("ends with the first match if two channels have a matching event", async () => {
      const { lastId } = await rig.open({ until }, "a", "b");
      rig.publish("b", "b1", "end", "b2");
      rig.publish("a", "a1", "end", "a2");
      const back = await rig.open({ until, lastEventId: lastId }, "a", "b");
      expect(back.data).to.deep.equal(["a1", "b1", "end"]);
      expect(back.lastId).to.equal("completed");
    });

    it('gets the id "completed" also from a channel without history', async () => {
      const stream = await rig.open({ until }, "p");
      rig.publish("p", "1", "end");
      expect(stream.sink.text).to.include("data: end\nid: completed\n\n");
    });

    it("does not end if until itself removes the channel", async () => {
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
