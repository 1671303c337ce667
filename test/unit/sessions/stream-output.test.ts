import { expect } from "chai";

import { streamHead } from "../../../lib/sse/http-answer.js";
import { EncodedFrames } from "../../../lib/sse/frame.js";
import { StreamOutput } from "../../../lib/sessions/stream-output.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { FakeSink } from "../../support/fake-sink.js";

const FRAME = new EncodedFrames("data: é\n\n");

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

  describe("what is gathered", () => {
    const [first, second] = [new EncodedFrames("data: 1\n\n"), new EncodedFrames("data: é\n\n", true)];

    it("goes out as one write, in its order", () => {
      output.cork();
      expect([output.write(first), output.write(second)]).to.deep.equal(["corked", "corked"]);
      expect(sink.writes).to.equal(0);
      expect(output.corkedLength).to.equal(first.text.length + second.text.length);
      expect(output.uncork()).to.equal("taken");
      expect([sink.writes, sink.text]).to.deep.equal([1, first.text + second.text]);
      expect(output.bytesSent).to.equal(first.byteLength + second.byteLength);
      expect(output.corkedLength).to.equal(0);
    });

    it("waits for the outermost of all who gather", () => {
      output.cork();
      output.write(first);
      output.cork();
      output.write(second);
      expect(output.uncork()).to.equal("corked");
      output.write(first);
      expect(sink.writes).to.equal(0);
      expect(output.uncork()).to.equal("taken");
      expect([sink.writes, sink.text]).to.deep.equal([1, first.text + second.text + first.text]);
    });

    it("is no write where there was nothing", () => {
      output.cork();
      output.cork();
      expect([output.uncork(), output.uncork()]).to.deep.equal(["corked", "taken"]);
      expect(sink.writes).to.equal(0);
      expect(output.takeActivity()).to.equal(false);
    });

    it("is the very block where there was but one, whose bytes are shared", () => {
      const written: EncodedFrames[] = [];
      sink.write = (block) => written.push(block) > 0;
      output.cork();
      output.write(second);
      output.uncork();
      expect(written).to.have.length(1);
      expect(written[0]).to.equal(second);
    });

    it("is told as blocked or failed with the write", () => {
      output.cork();
      output.write(first);
      sink.takes = false;
      expect(output.uncork()).to.equal("blocked");
      sink.write = throwing;
      output.cork();
      output.write(first);
      expect(output.uncork()).to.equal("failed");
      expect(output.bytesSent).to.equal(first.byteLength);
      sink.write = FakeSink.prototype.write.bind(sink);
      output.cork();
      output.write(second);
      output.uncork();
      expect(sink.text, "what failed is not written again").to.equal(first.text + second.text);
    });

    it("is written before the end of a response that ends meanwhile, and nothing behind it", async () => {
      output.cork();
      output.write(first);
      output.write(second);
      await output.end(100);
      expect([sink.writes, sink.text, sink.ended]).to.deep.equal([1, first.text + second.text, true]);
      expect(output.uncork()).to.equal("taken");
      expect(sink.writes).to.equal(1);
    });

    it("is dropped with the connection", () => {
      output.cork();
      output.write(first);
      output.destroy();
      expect(output.uncork()).to.equal("failed");
      expect(sink.writes).to.equal(0);
      expect(output.bytesSent).to.equal(0);
    });
  });

  describe("isClear", () => {
    it("tells whether the system has taken all that was written, where the sink knows that", () => {
      expect(output.isClear).to.equal(true);
      Object.defineProperty(sink, "pendingBytes", { value: 1, configurable: true });
      expect(output.isClear).to.equal(false);
      Object.defineProperty(sink, "pendingBytes", { value: 0 });
      expect(output.isClear).to.equal(true);
    });
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
