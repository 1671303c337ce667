import { Writable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

import { expect } from "chai";

import { gatherWrites } from "../../../lib/redis/gathered-writes.js";
import type { RedisClient } from "../../../lib/redis/client.js";

/** A connection that records each write that it receives. */
function connection(): { client: RedisClient; stream: Writable; writes: string[] } {
  const writes: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _, done) {
      writes.push(chunk);
      done();
    },
    writev(chunks, done) {
      writes.push(chunks.map(({ chunk }) => String(chunk)).join(""));
      done();
    },
  });
  return { client: { stream } as unknown as RedisClient, stream, writes };
}

describe("gatherWrites()", () => {
  it("sends all data of one callback in one write, in order, and later data in the next write", async () => {
    const { client, stream, writes } = connection();
    for (const text of ["a", "b", "c"]) {
      gatherWrites(client);
      stream.write(text);
    }
    expect(writes).to.deep.equal([]);
    await turn();
    expect(writes).to.deep.equal(["abc"]);
    gatherWrites(client);
    stream.write("d");
    await turn();
    stream.write("e");
    expect(writes).to.deep.equal(["abc", "d", "e"]);
  });

  it("uncorks the old stream even if the client has a new one", async () => {
    const before = connection();
    const after = connection();
    const client = gatherWrites(before.client) as unknown as { stream: Writable };
    before.stream.destroy();
    client.stream = after.stream;
    gatherWrites(client as unknown as RedisClient);
    after.stream.write("x");
    await turn();
    expect(before.stream.writableCorked).to.equal(0);
    expect(after.stream.writableCorked).to.equal(0);
    expect(after.writes).to.deep.equal(["x"]);
  });

  it("does nothing for a client without a stream", () => {
    const client = {} as unknown as RedisClient;
    expect(gatherWrites(client)).to.equal(client);
  });
});
