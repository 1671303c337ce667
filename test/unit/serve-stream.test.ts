import { expect } from "chai";
import { stub } from "sinon";

import { RedisSseError } from "../../lib/index.js";
import { serveStream } from "../../lib/serve-stream.js";
import { anotherCopy } from "../support/another-copy.js";
import { FakeSink } from "../support/fake-sink.js";

describe("serveStream()", () => {
  async function open(error: Error): Promise<void> {
    const service = stub({ check: () => null, open: () => new Promise<never>(() => {}) });
    service.open.rejects(error);
    await serveStream(service, {}, new FakeSink(), "a");
  }

  it("resolves if open() refuses the stream, because open() has answered the client", async () => {
    await open(new RedisSseError("FORBIDDEN", "x"));
  });

  it("resolves if a service of another copy of the library refuses the stream", async () => {
    const { RedisSseError: Other } = await anotherCopy();
    await open(new Other("FORBIDDEN", "x"));
  });

  it("rejects with an invalid event of `first`, also of another copy, and with other errors", async () => {
    const { RedisSseError: Other } = await anotherCopy();
    for (const error of [
      new RedisSseError("INVALID_EVENT", "x"),
      new Other("UNSERIALIZABLE", "x"),
      new Error("a bug"),
    ]) {
      expect(await open(error).catch((thrown: unknown) => thrown)).to.equal(error);
    }
  });
});
