import { expect } from "chai";
import type { Express, RequestHandler } from "express";
import { restore, stub } from "sinon";

import {
  createRedisSse,
  RedisSseError,
  type Clock,
  type LimitOptions,
  type RedisSse,
} from "../../lib/index.js";
import { sseStream, taskStream, type RouteParams, type SseStreamOptions } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import { describeFaults } from "../support/fault-rig.js";
import { getRequest, openWire } from "../support/wire-client.js";
import { captureLog, expectFault } from "../support/service.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

type Resolver = () => string | Promise<string>;
type Options = Pick<SseStreamOptions, "key" | "onUnavailable" | "retryMs">;

const MOUNTS: Readonly<
  Record<string, (resolver: Resolver, options: SseStreamOptions) => RequestHandler<RouteParams>>
> = {
  "sseStream()": (resolver, options) => sseStream(resolver, options),
  "taskStream()": (resolver, options) => taskStream(resolver, options),
};

for (const [name, make] of Object.entries(MOUNTS)) {
  describeFaults(`errors of an application before ${name}`, (rig) => {
    let service: RedisSse;
    let app: TestApp;
    /** The answer of a resolver that names something to stream. */
    let known: string;

    afterEach(restore);

    async function start(
      resolver: Resolver,
      options: Options & { limits?: LimitOptions; clock?: Clock } = {},
      before: (app: Express) => void = () => {},
    ): Promise<void> {
      const { limits, clock, ...stream } = options;
      service = rig.adopt(createRedisSse({ redis: rig.server.url, limits, clock }));
      known = (await service.queue("media").enqueue("resize", null)).id;
      app = await startApp((router) => {
        before(router);
        router.use("/stream", make(resolver, { service, ...stream }));
      });
      rig.undo(() => app.close());
    }

    const ask = (method = "GET"): Promise<Response> => fetch(`${app.url}/stream`, { method });

    async function open(): Promise<SseClient> {
      const client = await openStream(`${app.url}/stream`);
      rig.undo(() => client.destroy());
      return client;
    }

    const refused = async (): Promise<unknown> => (await service.status()).sessions.refused;

    describe("a resolver that never settles", () => {
      const never: Resolver = () => new Promise(() => {});
      const limits = { resolverTimeoutMs: 60 };

      it("is a passing fault after its deadline, counted and logged", async () => {
        await start(never, { limits });
        const log = captureLog("redis-sse:service");
        try {
          const client = await open();
          await client.ended;
          expect(client.status).to.equal(200);
          expect(client.retryMs).to.be.within(2_000, 4_000);
          expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
          expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "RESOLVER_TIMEOUT");
          expect(log.lines.join("\n")).to.match(/resolver .*60 ms/);
        } finally {
          log.restore();
        }
        expect(await refused()).to.deep.equal({ RESOLVER_TIMEOUT: 1 });
        expect((await service.status()).sessions.opened).to.equal(0);
        expect(app.errors).to.deep.equal([]);
      });

      it("is 503 with Retry-After if the mount asks for a status, and HEAD gets the same answer", async () => {
        await start(never, { limits, onUnavailable: "status", retryMs: 3_000 });
        for (const method of ["GET", "HEAD"]) {
          const response = await ask(method);
          expect(response.status, method).to.equal(503);
          expect(Number(response.headers.get("retry-after")), method).to.be.within(3, 6);
        }
        expect(await refused()).to.deep.equal({ RESOLVER_TIMEOUT: 2 });
      });

      it("is abandoned when its client leaves, and no refusal is counted", async () => {
        const reached = deferred();
        const clock = new FakeClock();
        const resolver: Resolver = () => {
          reached.resolve();
          return new Promise(() => {});
        };
        await start(resolver, { clock });
        const timers = clock.pending;
        const client = await openWire(app.url, getRequest("/stream"));
        await reached.promise;
        expect(clock.pending).to.equal(timers + 1);
        client.socket.destroy();
        await eventually(() => expect(clock.pending).to.equal(timers));
        expect(await refused()).to.deep.equal({});
        expect(app.errors).to.deep.equal([]);
      });

      for (const how of ["drain", "close"] as const) {
        it(`is abandoned when the service begins to ${how}`, async () => {
          const reached = deferred();
          await start(() => {
            reached.resolve();
            return new Promise(() => {});
          });
          const opening = open();
          await reached.promise;
          await service[how]();
          const client = await opening;
          await client.ended;
          expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "CLOSED");
          expect((await ask()).status).to.equal(200);
          expect(await refused()).to.deep.equal({ CLOSED: 2 });
        });
      }
    });

    it("a resolver that answers after its deadline opens no stream", async () => {
      const answer = deferred<string>();
      await start(() => answer.promise, { limits: { resolverTimeoutMs: 60 } });
      await (
        await open()
      ).ended;
      answer.resolve(known);
      await settle();
      expect((await service.status()).sessions.opened).to.equal(0);
    });

    it("a resolver that fails after its deadline is logged, without its message", async () => {
      const answer = deferred<string>();
      await start(() => answer.promise, { limits: { resolverTimeoutMs: 60 } });
      await (
        await open()
      ).ended;
      const log = captureLog("redis-sse:service");
      try {
        answer.reject(new TypeError("the password is hunter2"));
        await eventually(() => expect(log.lines.join("\n")).to.include("TypeError"));
        expect(log.lines.join("\n")).to.not.include("hunter2");
      } finally {
        log.restore();
      }
      expect(app.errors).to.deep.equal([]);
    });

    it("an error of a resolver goes to next(err) unchanged, even an error of this library", async () => {
      const errors = [
        new Error("mishap"),
        new RedisSseError("FORBIDDEN", "of the app"),
        new RedisSseError("RESOLVER_TIMEOUT", "of the app"),
      ];
      let round = 0;
      await start(() => {
        const error = errors[round++ % 3]!;
        if (round > 3) return Promise.reject(error);
        throw error;
      });
      for (let each = 0; each < 6; each++) expect((await ask()).status).to.equal(500);
      expect(app.errors).to.deep.equal([...errors, ...errors]);
      expect(await refused()).to.deep.equal({});
    });

    describe("key()", () => {
      for (const [what, key, user] of [
        ["a number", 7, "7"],
        ["a bigint", 7n, "7"],
        ["a promise of a string", Promise.resolve("ann"), "ann"],
        ["a promise of null", Promise.resolve(null), "-"],
        ["null", null, "-"],
      ] as const) {
        it(`that answers ${what} counts for ${user}`, async () => {
          await start(() => known, { key: () => key, limits: { maxSessionsPerKey: 1 } });
          const log = captureLog("redis-sse:session");
          try {
            await (await open()).next(({ event }) => event === "connected");
            expect(log.lines.join("\n")).to.include(`user=${user},`);
          } finally {
            log.restore();
          }
          const again = await open();
          await again.next(({ event }) => event === (user === "-" ? "connected" : "error"));
        });
      }

      for (const [type, key] of Object.entries({
        "an array": ["ann"],
        "an object": { id: "ann" },
        "a function": () => "ann",
        "a boolean": false,
        "a symbol": Symbol("ann"),
      })) {
        it(`that answers ${type} is an error that names the type, and nothing opens`, async () => {
          await start(() => known, { key: () => key as never });
          expect((await ask()).status).to.equal(500);
          expectFault(app.errors[0], "CONFIG");
          expect((app.errors[0] as Error).message).to.match(new RegExp(`key .*got ${type}$`));
          expect((await service.status()).sessions.opened).to.equal(0);
        });
      }

      it("that never settles has the same deadline as the resolver", async () => {
        const key = (): Promise<string> => new Promise(() => {});
        await start(() => known, { key, limits: { resolverTimeoutMs: 60 } });
        const client = await open();
        await client.ended;
        expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "RESOLVER_TIMEOUT");
      });

      it("that throws while the resolver rejects is one error, and no rejection is left unhandled", async () => {
        const mishap = new Error("of the key");
        await start(() => Promise.reject(new Error("of the resolver")), {
          key: () => {
            throw mishap;
          },
        });
        expect((await ask()).status).to.equal(500);
        expect(app.errors).to.deep.equal([mishap]);
      });
    });

    describe("a head that is sent", () => {
      for (const method of ["flushHeaders", "write"] as const) {
        it(`by res.${method}() in an earlier middleware is an error that says so, and ends the response`, async () => {
          await start(
            () => known,
            {},
            (router) =>
              router.use((_req, res, next) => {
                if (method === "write") res.write(":\n\n");
                else res.flushHeaders();
                next();
              }),
          );
          await (
            await open()
          ).ended;
          expectFault(app.errors[0], "HEADERS_SENT");
          expect((app.errors[0] as Error).message).to.match(/earlier middleware.*res\.flushHeaders\(\)/s);
          expect((await service.status()).sessions.opened).to.equal(0);
        });
      }

      it("while the resolver runs is an error too, even if the resolver then hangs", async () => {
        let res!: Parameters<RequestHandler>[1];
        let hangs = false;
        await start(
          () => {
            res.flushHeaders();
            return hangs ? new Promise(() => {}) : known;
          },
          { limits: { resolverTimeoutMs: 60 } },
          (router) =>
            router.use((_req, each, next) => {
              res = each;
              next();
            }),
        );
        for (hangs of [false, true]) await (await open()).ended;
        expect(app.errors).to.have.length(2);
        for (const error of app.errors) expectFault(error, "HEADERS_SENT");
      });

      it("with a whole answer, by an earlier middleware or by the resolver, is left as it is", async () => {
        let res!: Parameters<RequestHandler>[1];
        let early = true;
        await start(
          () => {
            res.status(418).end();
            return known;
          },
          {},
          (router) =>
            router.use((_req, each, next) => {
              res = each;
              if (early) res.status(418).end();
              next();
            }),
        );
        for (early of [true, false]) expect((await ask()).status).to.equal(418);
        await settle();
        expect(app.errors).to.deep.equal([]);
        expect((await service.status()).sessions).to.deep.include({ opened: 0, refused: {} });
      });
    });
  });
}

describeFaults("a value that is missing in a channel name", (rig) => {
  afterEach(restore);

  it("causes one warning per mount, and the stream opens", async () => {
    const warn = stub(console, "warn");
    const { openLive } = await rig.start();
    for (let round = 0; round < 2; round++) await openLive("user:undefined");
    await openLive("user:ann");
    expect(warn.callCount).to.equal(1);
    expect(warn.firstCall.args).to.include('"user:undefined"');
    const other = await rig.start();
    await other.openLive("user:null");
    expect(warn.callCount).to.equal(2);
  });
});

describeFaults("a caller of open() and check() with a key of another type", (rig) => {
  it("is refused with CONFIG, and a number is a key", async () => {
    const service = rig.adopt(createRedisSse({ redis: rig.server.url, limits: { maxSessionsPerKey: 1 } }));
    for (const key of [["ann"], { id: "ann" }, Promise.resolve("ann"), true] as never[]) {
      expectFault(service.check({ key }, "a"), "CONFIG");
      const sink = rig.sink();
      expectFault(await service.open({ key }, sink, "a").catch((error: unknown) => error), "CONFIG");
      expect(sink.answered?.status).to.equal(500);
    }
    expectFault(service.check({ onLimit: "evict" as never }, "a"), "CONFIG");
    await service.open({ key: 7 }, rig.sink(), "a");
    for (const key of [7, 7n, "7"]) expectFault(service.check({ key }, "a"), "LIMIT_SESSIONS_PER_KEY");
    expect(service.check({ key: 7, onLimit: "evict-oldest" }, "a")).to.equal(null);
  });
});
