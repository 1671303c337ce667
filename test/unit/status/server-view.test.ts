import { expect } from "chai";

import { askServer, parseClientList } from "../../../lib/status/server-view.js";
import type { RedisClient } from "../../../lib/redis/client.js";
import { faultOf } from "../../support/service.js";

describe("parseClientList()", () => {
  it("reads the id, the name and the number of channels of each client", () => {
    const text = [
      "id=3 addr=127.0.0.1:5000 laddr=127.0.0.1:6379 fd=8 name=redis-sse:subscriber:web-1 age=2 idle=0 flags=P db=0 sub=12 psub=1 ssub=0 multi=-1",
      "id=4 addr=127.0.0.1:5001 laddr=127.0.0.1:6379 fd=9 name= age=1 idle=0 flags=N db=0 sub=0 psub=0 multi=-1",
      "id=5 addr=127.0.0.1:5000 name=x age=2 idle=0 phase=process",
      "",
    ].join("\n");
    expect(parseClientList(text)).to.deep.equal([
      { id: "3", name: "redis-sse:subscriber:web-1", channels: 12 },
      { id: "4", name: "", channels: 0 },
      { id: "5", name: "x", channels: null },
    ]);
    expect(parseClientList("")).to.deep.equal([]);
  });
});

describe("askServer()", () => {
  it("asks for at most 512 channels per command and returns the channels without subscribers", async () => {
    const channels = Array.from({ length: 1_100 }, (_, index) => `c:${index}`);
    const asked: number[] = [];
    const client = fakeClient({
      pubsub: async (_: string, ...names: string[]) => {
        asked.push(names.length);
        return names.flatMap((name) => [name, name.endsWith("99") ? 0 : 2]);
      },
    });
    const view = await askServer(client, channels, true);
    expect(asked).to.deep.equal([512, 512, 76]);
    expect(view?.silent).to.deep.equal(channels.filter((name) => name.endsWith("99")));
  });

  it("returns null for each part that is denied", async () => {
    const refuse = async (): Promise<never> => {
      throw Object.assign(new Error("NOPERM this user has no permissions"), { name: "ReplyError" });
    };
    expect(await askServer(fakeClient({ client: refuse }), ["a"], true)).to.deep.equal({
      connections: null,
      silent: ["a"],
    });
    expect(await askServer(fakeClient({ pubsub: refuse }), ["a"], true)).to.deep.equal({
      connections: [],
      silent: null,
    });
  });

  it("rejects if the server does not answer", async () => {
    const gone = (): Promise<never> => Promise.reject(new Error("Connection is closed."));
    expect(await faultOf(askServer(fakeClient({ client: gone }), [], true))).to.be.instanceOf(Error);
  });
});

function fakeClient(commands: Record<string, unknown>): RedisClient {
  return {
    status: "ready",
    client: async () => "",
    pubsub: async (_: string, ...names: string[]) => names.flatMap((name) => [name, 0]),
    ...commands,
  } as unknown as RedisClient;
}
