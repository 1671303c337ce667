import { expect } from "chai";

import { askServer, parseClientList } from "../../../lib/status/server-view.js";
import type { RedisClient } from "../../../lib/redis/client.js";

describe("parseClientList()", () => {
  it("reads each client's name and how many channels it is subscribed to", () => {
    const text = [
      "id=3 addr=127.0.0.1:5000 laddr=127.0.0.1:6379 fd=8 name=redis-sse:subscriber:web-1 age=2 idle=0 flags=P db=0 sub=12 psub=1 ssub=0 multi=-1",
      "id=4 addr=127.0.0.1:5001 laddr=127.0.0.1:6379 fd=9 name= age=1 idle=0 flags=N db=0 sub=0 psub=0 multi=-1",
      "",
    ].join("\n");
    expect(parseClientList(text)).to.deep.equal([
      { name: "redis-sse:subscriber:web-1", channels: 12 },
      { name: "", channels: 0 },
    ]);
  });

  it("reads nothing from nothing", () => {
    expect(parseClientList("")).to.deep.equal([]);
  });
});

describe("askServer()", () => {
  it("asks for many channels in commands of at most 512, and answers those that nobody hears", async () => {
    const channels = Array.from({ length: 1_100 }, (_, index) => `c:${index}`);
    const asked: number[] = [];
    const client = fakeClient(12, (names) => {
      asked.push(names.length);
      return names.flatMap((name) => [name, name.endsWith("99") ? 0 : 2]);
    });
    const view = await askServer(client, channels);
    expect(asked).to.deep.equal([512, 512, 76]);
    expect(view?.silent).to.deep.equal(channels.filter((name) => name.endsWith("99")));
  });

  it("lists no clients of a server that has too many of them, or does not tell", async () => {
    for (const clients of [10_001, null]) {
      const client = fakeClient(clients, () => expect.fail("no channel is asked for"));
      expect(await askServer(client, ["a"])).to.equal(null);
    }
  });
});

function fakeClient(clients: number | null, count: (names: readonly string[]) => unknown[]): RedisClient {
  return {
    status: "ready",
    info: async () => (clients === null ? "# Clients\r\n" : `# Clients\r\nconnected_clients:${clients}\r\n`),
    client: async () => (clients !== null && clients <= 10_000 ? "" : expect.fail("clients are not listed")),
    pubsub: async (_: string, ...names: string[]) => count(names),
  } as unknown as RedisClient;
}
