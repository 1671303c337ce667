import { createHook } from "node:async_hooks";
import type { EventEmitter } from "node:events";

import { expect } from "chai";
import type { Request } from "express";
import { restore, spy } from "sinon";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { HEARTBEAT } from "../../lib/sse/frame.js";
import { sseStream } from "../../middleware/express.js";
import { eventually, settle } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import { MemorySocket } from "../support/memory-socket.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { startApp, type TestApp } from "../support/test-app.js";

const HEARTBEAT_MS = 20;

/** Counts instead of times: a count is the same on every machine. `docs/performance.md` explains the costs. */
describe("the cost", function () {
  this.timeout(30_000);

  let redis: RedisServer;
  let clock: FakeClock;
  let service: RedisSse;
  let app: TestApp;
  let requests: Request[];
  const sockets: MemorySocket[] = [];

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
  });

  beforeEach(async () => {
    clock = new FakeClock();
    service = createRedisSse({ redis: redis.url, clock });
    requests = [];
    const resolver = (req: Request): string => req.query["channel"] as string;
    app = await startApp((router) => {
      router.use((req, _res, next) => {
        requests.push(req);
        next();
      });
      router.get("/stream", sseStream(resolver, { service }));
      router.get("/beating", sseStream(resolver, { service, heartbeatMs: HEARTBEAT_MS }));
      router.get("/plain", (_req, res) => void res.writeHead(200).write("plain"));
    });
  });

  afterEach(async () => {
    restore();
    for (const socket of sockets.splice(0)) socket.destroy();
    await service.close();
    await app.close();
    await redis.admin.flushall();
  });

  after(() => redis?.stop());

  function open(channel: string, { path = "/stream", lastEventId }: Opening = {}): MemorySocket {
    const socket = MemorySocket.open(app.server, `${path}?channel=${channel}`, lastEventId);
    sockets.push(socket);
    return socket;
  }

  /** Opens streams in one event-loop turn, and waits until all of them are live. */
  async function openLive(channels: readonly string[], opening?: Opening): Promise<readonly MemorySocket[]> {
    const opened = channels.map((channel) => open(channel, opening));
    await all(opened, "event: connected");
    return opened;
  }

  /** Waits until each client has this text. */
  function all(clients: readonly MemorySocket[], text: string): Promise<void> {
    return eventually(() => {
      for (const client of clients) if (!client.text.includes(text)) throw new Error(`no ${text}`);
    }, 15_000);
  }

  /** The commands that Redis gets from its clients during `step`, in order. The commands of scripts do not count. */
  async function commandsDuring(step: () => Promise<unknown>): Promise<readonly string[]> {
    const commands: string[] = [];
    const monitor = await redis.admin.monitor();
    monitor.on("monitor", (_time: string, words: readonly string[], source: string) => {
      if (source !== "lua")
        commands.push(words[0]!.toLowerCase() === "evalsha" ? "evalsha" : words.join(" "));
    });
    try {
      await step();
      await settle();
      // When Redis has answered the first command, it has read everything that the service had sent before.
      for (const text of ["sent", "end"]) await redis.admin.echo(text);
      await eventually(() => expect(commands.at(-1)).to.equal("echo end"));
      return commands.filter((command) => !command.startsWith("echo "));
    } finally {
      monitor.disconnect();
    }
  }

  describe("of an event", () => {
    for (const [says, history] of [
      ["with history", true],
      ["without history", false],
    ] as const) {
      it(`is one write for each of 1,000 streams, and one Buffer for all of them (${says})`, async () => {
        const streams = await openLive(Array<string>(1_000).fill("a"));
        for (const { writes } of streams) writes.length = 0;
        await service.publish("a", { data: "1" }, { history });
        await all(streams, "data: 1\n");
        expect(streams.map(({ writes }) => writes.length)).to.deep.equal(Array(1_000).fill(1));
        const chunks = new Set(streams.flatMap(({ writes }) => writes.flat()));
        expect(chunks.size, "encoded events").to.equal(1);
        expect([...chunks][0]).to.be.instanceOf(Buffer);
      });

      it(`is one write for ten events of an event-loop turn (${says})`, async () => {
        const [stream] = await openLive(["a"]);
        stream!.writes.length = 0;
        const publishing = Array.from({ length: 10 }, (_, index) =>
          service.publish("a", { data: `${index}` }, { history }),
        );
        await Promise.all(publishing);
        await all([stream!], "data: 9\n");
        expect(stream!.writes).to.have.length(1);
      });

      it(`is one command for each publish() (${says})`, async () => {
        await openLive(["a"]);
        await service.publish("a", { data: "0" }, { history });
        const commands = await commandsDuring(async () => {
          for (const data of ["1", "2", "3"]) await service.publish("a", { data }, { history });
        });
        expect(commands.map((command) => command.split(" ")[0])).to.deep.equal(
          Array(3).fill(history ? "evalsha" : "publish"),
        );
      });
    }
  });

  describe("of a connection", () => {
    it("is 12 promises, no timer and no AbortController, if the channel is known", async () => {
      await openLive(["a"]);
      const controllers = spy(globalThis, "AbortController");
      const counts: ReadonlyMap<string, number>[] = [];
      for (let connection = 0; connection < 10; connection++) {
        counts.push(await countAsyncResources(() => open("a")));
      }
      for (const { text } of sockets) expect(text).to.include("event: connected");
      // Other parts of the process, such as the clock of Node's HTTP server, can add to a count, but not to all of them.
      const least = (type: string): number => Math.min(...counts.map((each) => each.get(type) ?? 0));
      // - 6: one for each async function: the handler, resolve(), serve(), serveStream(), open() and the session's start()
      // - 5: one for each await of their promises
      // - 1: Express handles a rejection of the handler
      expect(least("PROMISE")).to.be.at.most(12);
      expect(least("Timeout")).to.equal(0);
      expect(controllers.callCount).to.equal(0);
    });

    it("leaves no timer for the open stream", async () => {
      await openLive(["a"]);
      const before = clock.pending;
      await openLive(Array<string>(200).fill("a"));
      expect(clock.pending).to.equal(before);
    });

    it("leaves two listeners for the open stream: for `close` and `error` of the response", async () => {
      const plain = open("", { path: "/plain" });
      await all([plain], "plain");
      const [stream] = await openLive(["a"]);
      const added = (select: (req: Request, socket: MemorySocket) => EventEmitter): unknown => {
        const [before, after] = [select(requests[0]!, plain), select(requests[1]!, stream!)];
        return Object.fromEntries(
          after
            .eventNames()
            .map((name) => [name, after.listenerCount(name) - before.listenerCount(name)] as const)
            .filter(([, count]) => count !== 0),
        );
      };
      expect(added((req) => req.res!)).to.deep.equal({ close: 1, error: 1 });
      expect(added((req) => req)).to.deep.equal({});
      expect(added((_, socket) => socket)).to.deep.equal({});
    });

    it("is one SUBSCRIBE for all new channels of an event-loop turn, and one read for each of them", async () => {
      await openLive(["known"]);
      const commands = await commandsDuring(() => openLive(["a", "b", "c", "a", "b", "c"]));
      expect(commands).to.deep.equal(["subscribe a b c", "evalsha", "evalsha", "evalsha"]);
    });

    it("is no command if the channel is known", async () => {
      await openLive(["a"]);
      expect(await commandsDuring(() => openLive(Array<string>(100).fill("a")))).to.deep.equal([]);
    });

    it("is one read of the state and one of the page for 1,000 streams that resume together", async () => {
      await openLive(["a"]);
      const { id } = await service.publish("a", { data: "1" });
      await service.publish("a", { data: "2" });
      const resumed: MemorySocket[] = [];
      const resumeAll = async (): Promise<void> => {
        resumed.push(...(await openLive(Array<string>(1_000).fill("a"), { lastEventId: id! })));
        await all(resumed, "data: 2\n");
      };
      expect(await commandsDuring(resumeAll)).to.have.length.within(1, 2);
      expect(await commandsDuring(resumeAll)).to.deep.equal([]);
      const chunks = new Set(resumed.flatMap(({ writes }) => writes.flat()));
      expect([...chunks].filter((chunk) => Buffer.isBuffer(chunk))).to.have.length(1);
      expect(resumed.map(({ writes }) => writes.length)).to.deep.equal(Array(2_000).fill(2));
    });
  });

  it("of a heartbeat is no command", async () => {
    const streams = await openLive(Array<string>(100).fill("a"), { path: "/beating" });
    for (const { writes } of streams) writes.length = 0;
    const commands = await commandsDuring(async () => clock.advance(3 * HEARTBEAT_MS));
    for (const { text } of streams) expect(text).to.include(`${HEARTBEAT}\r\n`);
    expect(commands).to.deep.equal([]);
  });
});

interface Opening {
  readonly path?: string;
  readonly lastEventId?: string;
}

/** Runs `step` and all work that is ready then. Returns how many asynchronous resources of each type were created. */
function countAsyncResources(step: () => void): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  const hook = createHook({ init: (_id, type) => void counts.set(type, (counts.get(type) ?? 0) + 1) });
  return new Promise((resolve) => {
    let turns = 10;
    // Only callbacks, because the promises of `await` would count.
    const wait = (): void => {
      if (turns-- > 0) return void setImmediate(wait);
      hook.disable();
      resolve(counts);
    };
    setImmediate(() => {
      hook.enable();
      step();
      wait();
    });
  });
}
