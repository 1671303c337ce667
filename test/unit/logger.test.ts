import { expect } from "chai";
import { restore, stub } from "sinon";

import { ConfigError } from "../../lib/errors.js";
import { readLogger, ServiceLog, type Logger } from "../../lib/logger.js";
import { FakeClock } from "../support/fake-clock.js";
import { recordingLogger } from "../support/recording-logger.js";

describe("ServiceLog and the option logger", () => {
  afterEach(() => restore());

  it("writes warnings and errors to the console if no logger is given", () => {
    const warn = stub(console, "warn");
    const error = stub(console, "error");
    const log = new ServiceLog(readLogger(undefined), new FakeClock());
    log.debug("a");
    log.info("b");
    log.warn("c %s");
    log.error("thrown", "d");
    expect(warn.args).to.deep.equal([["redis-sse: c undefined"]]);
    expect(error.args).to.deep.equal([["redis-sse: d: thrown"]]);
  });

  for (const [says, given] of [
    ["null", null],
    ["a function", () => {}],
    ["an object with a missing function", { debug() {}, info() {}, warn() {} }],
  ] as const) {
    it(`rejects ${says}`, () => {
      expect(() => readLogger(given)).to.throw(ConfigError, "logger as an object with the functions debug");
    });
  }

  it("passes one formatted string to the logger at every level", () => {
    const { logger, lines } = recordingLogger();
    const log = new ServiceLog(readLogger(logger), new FakeClock());
    log.debug("%s channels", 3);
    log.info("%s", null);
    log.warn("%s of %s", "a", "b");
    log.error(new Error("broken"), "task %s failed", "t");
    expect(lines.slice(0, 3)).to.deep.equal([
      "debug redis-sse: 3 channels",
      "info redis-sse: null",
      "warn redis-sse: a of b",
    ]);
    expect(lines[3]).to.match(/^error redis-sse: task t failed: Error: broken\n {4}.*at /);
  });

  it("escapes every value, so that no name can add a line, move the cursor or reverse the text", () => {
    const { logger, lines } = recordingLogger();
    const log = new ServiceLog(logger, new FakeClock());
    const name = "%s\nredis-sse: forged \u001b[31m \u202e \u2066";
    log.warn("channel %s", name);
    log.error(new Error(name), "failed");
    for (const line of lines) {
      // oxlint-disable-next-line no-control-regex -- the output must not contain control characters
      expect(line).not.to.match(/\n\S|[\u0000-\u0009\u000b-\u001f\u202e\u2066]/);
    }
  });

  it("ignores errors that the logger throws", () => {
    const fail = (): never => {
      throw new Error("disk full");
    };
    const logger: Logger = { debug: fail, info: fail, warn: fail, error: fail };
    expect(() => new ServiceLog(logger, new FakeClock()).warn("x")).not.to.throw();
  });

  it("ignores rejections of async logger functions", async () => {
    const fail = (() => Promise.reject(new Error("disk full"))) as () => void;
    const logger: Logger = { debug: fail, info: fail, warn: fail, error: fail };
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", onUnhandled);
    try {
      new ServiceLog(logger, new FakeClock()).warn("x");
      await new Promise(setImmediate);
      expect(unhandled).to.deep.equal([]);
    } finally {
      process.off("unhandledRejection", onUnhandled);
    }
  });

  it("writes nothing and does not throw if a value cannot be converted to text", () => {
    const { logger, lines } = recordingLogger();
    const value = Object.create(null) as string;
    expect(() => new ServiceLog(logger, new FakeClock()).warn("%s", value)).not.to.throw();
    expect(lines).to.deep.equal([]);
  });

  it("warns once about a mistake, once a minute about a lasting error, and once when it is over", () => {
    const clock = new FakeClock();
    const { logger, lines } = recordingLogger();
    const log = new ServiceLog(logger, clock);
    for (const minute of [0, 1]) {
      for (const name of ["a", "b"]) log.warnOnce(name, "mistake %s", name);
      log.fault("redis", "away %s", minute);
      log.fault("redis", "not again");
      clock.advance(59_999);
      log.fault("redis", "not yet");
      clock.advance(1);
    }
    log.over("redis", "back");
    log.over("redis", "not again");
    log.over("other", "was never away");
    expect(lines.map((line) => line.replace("warn redis-sse: ", ""))).to.deep.equal([
      "mistake a",
      "mistake b",
      "away 0",
      "away 1",
      "back",
    ]);
  });
});
