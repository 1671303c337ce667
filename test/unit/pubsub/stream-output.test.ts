import { expect } from "chai";

import { streamHead } from "../../../lib/pubsub/answer.js";
import { Block } from "../../../lib/pubsub/block.js";
import { StreamOutput } from "../../../lib/pubsub/stream-output.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { FakeSink } from "../../support/fake-sink.js";

const FRAME = new Block("data: é\n\n");

describe("StreamOutput", () => {
  let clock: FakeClock;
  let sink: FakeSink;
  let told: string[];
  let output: StreamOutput;

  beforeEach(() => {
    clock = new FakeClock();
    sink = new FakeSink();
    told = [];
    output = outputTo(sink);
  });

  it("begins with the head of an event stream and its first frames", () => {
    expect(output.started).to.equal(false);
    expect(output.start(FRAME)).to.equal("taken");
    expect(output.started).to.equal(true);
    expect(sink.head).to.equal(streamHead);
    expect(sink.text).to.equal(FRAME.text);
  });

  it("counts the bytes it wrote, and tells once that it has written", () => {
    expect(output.takeActivity()).to.equal(false);
    output.start(FRAME);
    output.write(FRAME);
    expect([output.takeActivity(), output.takeActivity()]).to.deep.equal([true, false]);
    expect(output.bytesSent).to.equal(2 * FRAME.byteLength);
  });

  it("tells when the sink is blocked, though it took the frame", () => {
    sink.takes = false;
    expect(output.start(FRAME)).to.equal("blocked");
    expect(output.write(FRAME)).to.equal("blocked");
    expect(output.bytesSent).to.equal(2 * FRAME.byteLength);
  });

  it("tells a sink that throws as a failure, and counts nothing", () => {
    sink.write = throwing;
    expect(output.write(FRAME)).to.equal("failed");
    expect(output.bytesSent).to.equal(0);
  });

  it("has not begun when the head could not be written", () => {
    sink.start = throwing;
    expect(output.start(FRAME)).to.equal("failed");
    expect(output.started).to.equal(false);
    expect(sink.text).to.equal("");
  });

  it("passes on that the client drained, and that it is gone", () => {
    sink.drain();
    sink.leave();
    expect(told).to.deep.equal(["drain", "close"]);
    expect(output.closed).to.equal(true);
  });

  it("passes on that the client's connection failed", () => {
    sink.leave(true);
    expect(told).to.deep.equal(["close failed"]);
  });

  it("hears of a client that is gone as soon as it listens", () => {
    sink.attach = (listener) => {
      listener.onClose(false);
      return () => {};
    };
    outputTo(sink);
    expect(told).to.deep.equal(["close"]);
  });

  it("hears nothing more once it is detached", () => {
    output.detach();
    expect(sink.listeners).to.equal(0);
    sink.drain();
    sink.leave();
    expect(told).to.deep.equal([]);
  });

  describe("answer()", () => {
    const answer = { status: 403, headers: {}, body: Buffer.from("{}") };

    it("answers in place of a stream", () => {
      output.answer(answer);
      expect(sink.answered).to.equal(answer);
    });

    it("answers nobody", () => {
      sink.leave();
      output.answer(answer);
      expect(sink).to.include({ answered: null, ended: false });
    });

    it("drops the connection when the answer could not be written", () => {
      sink.answer = throwing;
      output.answer(answer);
      expect(sink.destroyed).to.equal(true);
    });
  });

  describe("end()", () => {
    it("resolves when the client has read the rest", async () => {
      await output.end(100);
      expect(sink).to.include({ ended: true, destroyed: false });
      expect(clock.pending).to.equal(0);
    });

    it("waits for a client that reads slowly, and drops it at the deadline", async () => {
      sink.closesOnEnd = false;
      let over = false;
      const ended = output.end(100).then(() => (over = true));
      clock.advance(99);
      await settle();
      expect(over).to.equal(false);
      expect(sink).to.include({ ended: true, destroyed: false });
      clock.advance(1);
      await ended;
      expect(sink.destroyed).to.equal(true);
      expect(clock.pending).to.equal(0);
    });

    it("waits for what was written last though the sink counts as closed once it is ended", async () => {
      // As a response does: after end() nothing more can be written to it, but bytes may still wait in it.
      sink.closesOnEnd = false;
      sink.end = () => {
        sink.ended = true;
        sink.closed = true;
      };
      const ended = output.end(100);
      await settle();
      clock.advance(100);
      await ended;
      expect(sink.destroyed).to.equal(true);
    });

    it("leaves a client alone that has read everything in time", async () => {
      sink.closesOnEnd = false;
      const ended = output.end(100);
      clock.advance(50);
      sink.leave();
      await ended;
      expect(sink.destroyed).to.equal(false);
      expect(clock.pending).to.equal(0);
    });

    it("does not wait for a client that has left", async () => {
      sink.leave();
      await output.end(100);
      expect(sink.ended).to.equal(false);
      expect(clock.pending).to.equal(0);
    });

    it("drops the connection when it could not be ended", async () => {
      sink.end = throwing;
      await output.end(100);
      expect(sink.destroyed).to.equal(true);
    });
  });

  it("drops the connection with all that waits", () => {
    output.destroy();
    expect(sink.destroyed).to.equal(true);
    expect(told).to.deep.equal(["close"]);
  });

  function outputTo(to: FakeSink): StreamOutput {
    const made = new StreamOutput(to, clock, {
      onDrain: () => told.push("drain"),
      onClose: (failed) => told.push(failed ? "close failed" : "close"),
    });
    made.attach();
    return made;
  }
});

function throwing(): never {
  throw new Error("the sink is broken");
}
