import { channel, subscribe, unsubscribe } from "node:diagnostics_channel";

import { expect } from "chai";
import { restore, spy } from "sinon";

import { diagnosticCatalogue } from "../../lib/catalogue/diagnostics.js";
import { createRedisSse, TaskFailure, type RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

const names = Object.keys(diagnosticCatalogue);

describe("diagnostics_channel", () => {
  let server: RedisServer;
  let sse: RedisSse;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  after(async () => server?.stop());

  beforeEach(async () => {
    await server.admin.flushall();
    sse = createRedisSse({ redis: server.url, history: { channels: { "live*": false } } });
  });

  afterEach(async () => {
    await sse.close();
    restore();
  });

  /** Causes each of the events. */
  const useAll = async (): Promise<void> => {
    const sink = new FakeSink();
    const session = await sse.open({ key: 7 }, sink, ["news", "live"]);
    const queue = sse.queue("q");
    const worker = queue.worker(({ task }) => {
      if (task.kind === "bad") throw new TaskFailure("no");
    });
    await queue.enqueue("good", 1, { id: "one" });
    await queue.enqueue("bad", 1, { id: "two" });
    await eventually(async () => expect((await queue.get("two"))?.status).to.equal("failed"));
    await eventually(async () => expect((await queue.get("one"))?.status).to.equal("succeeded"));
    await worker.stop();
    await sse.publish("news", { event: "x", data: "four" });
    await server.admin.call("CLIENT", "KILL", "TYPE", "pubsub");
    await eventually(() => expect(sink.text).to.include("event: gap"));
    await session.close();
  };

  it("publishes each event with its details", async () => {
    const told: [name: string, message: Record<string, unknown>][] = [];
    const listener = (message: unknown, name: string | symbol): void => {
      told.push([String(name), message as Record<string, unknown>]);
    };
    for (const name of names) subscribe(name, listener);
    try {
      await useAll();
    } finally {
      for (const name of names) unsubscribe(name, listener);
    }
    const of = (name: string): readonly Record<string, unknown>[] =>
      told.filter(([each]) => each === `redis-sse:${name}`).map(([, message]) => message);
    const sessionId = of("session:open")[0]!["sessionId"];
    expect(of("session:open")).to.deep.equal([
      { sessionId, key: "7", channels: ["news", "live"], recovered: false },
    ]);
    const closed = of("session:close");
    expect(closed).to.have.length(1);
    expect(closed[0]).to.include({ sessionId, key: "7", reason: "app", code: undefined, wasOpen: true });
    for (const figure of ["messagesSent", "bytesSent", "durationMs"]) {
      expect(closed[0]![figure], figure).to.be.greaterThan(0);
    }
    expect(of("publish")).to.have.length(1);
    expect(of("publish")[0]).to.include({ channel: "news", event: "x", length: 4, receivers: 1 });
    expect(of("publish")[0]!["id"]).to.match(/^3\./);
    expect(of("gap")).to.deep.equal([{ reason: "interrupted", channels: ["live"] }]);
    expect(of("redis:lost")).to.have.length(1);
    expect(of("redis:ready")).to.have.length(2);
    const starts = of("task:start");
    expect(starts).to.have.deep.members([
      { queue: "q", id: "one", kind: "good", attempt: 1 },
      { queue: "q", id: "two", kind: "bad", attempt: 1 },
    ]);
    const ends = of("task:end").map(({ durationMs, ...end }) => (expect(durationMs).to.be.at.least(0), end));
    expect(ends).to.have.deep.members([
      { ...starts.find(({ id }) => id === "one"), outcome: "succeeded" },
      { ...starts.find(({ id }) => id === "two"), outcome: "failed" },
    ]);
  });

  it("publishes nothing without a subscriber", async () => {
    const spies = names.map((name) => spy(channel(name), "publish"));
    await useAll();
    expect(spies.map(({ callCount }) => callCount)).to.deep.equal(names.map(() => 0));
  });
});
