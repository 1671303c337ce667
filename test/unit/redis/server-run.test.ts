import { EventEmitter } from "node:events";

import { expect } from "chai";

import type { RedisClient } from "../../../lib/redis/client.js";
import { ServerRuns } from "../../../lib/redis/server-run.js";

const RUN_ID = "0f3a4b5c6d7e8f90";

const infoOf = (fields: Readonly<Record<string, string | number>>): string =>
  Object.entries({ run_id: RUN_ID, aof_enabled: 0, ...fields })
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join("");

class Server extends EventEmitter {
  status = "ready";
  asked = 0;
  answer: string | Error = infoOf({});

  info(): Promise<string> {
    this.asked++;
    return this.answer instanceof Error ? Promise.reject(this.answer) : Promise.resolve(this.answer);
  }
}

describe("ServerRuns", () => {
  let server: Server;
  let runs: ServerRuns;

  beforeEach(() => {
    server = new Server();
    runs = new ServerRuns(() => server as unknown as RedisClient);
  });

  it("uses the start of run_id as the id and asks once per connection", async () => {
    expect(await runs.current()).to.deep.equal({ id: 0x0f3a, mayHaveLost: true });
    await runs.current();
    expect(server.asked).to.equal(1);
    server.answer = infoOf({ run_id: "abcd1234" });
    server.emit("close");
    expect((await runs.current()).id).to.equal(0xabcd);
    expect(server.asked).to.equal(2);
    expect(server.listenerCount("close")).to.equal(1);
  });

  for (const [what, fields, mayHaveLost] of [
    ["has no AOF and has data from a snapshot", { db0: "keys=3,expires=0" }, true],
    ["has an AOF without data", { aof_enabled: 1 }, true],
    ["has loaded an AOF", { aof_enabled: 1, db2: "keys=3,expires=0" }, false],
  ] as const) {
    it(`returns mayHaveLost: ${mayHaveLost} for a server that ${what}`, async () => {
      server.answer = infoOf(fields);
      expect((await runs.current()).mayHaveLost).to.equal(mayHaveLost);
    });
  }

  it("asks again if the previous request failed", async () => {
    server.answer = new Error("Connection is closed.");
    expect((await runs.current()).id).to.equal(0);
    server.answer = infoOf({});
    expect((await runs.current()).id).to.equal(0x0f3a);
  });

  it("returns an unknown run if INFO is denied, on a mock, on a cluster and after close", async () => {
    const unknown = { id: 0, mayHaveLost: false };
    server.answer = Object.assign(new Error("NOPERM"), { name: "ReplyError" });
    expect(await runs.current()).to.deep.equal(unknown);
    const closed = (): never => {
      throw new Error("CLOSED");
    };
    for (const client of [() => ({}), () => ({ status: "ready", nodes: () => [] }), closed])
      expect(await new ServerRuns(client as () => RedisClient).current()).to.deep.equal(unknown);
  });
});
