import { expect } from "chai";
import type { RequestHandler, Response } from "express";
import { restore, stub } from "sinon";

import { RedisSseError, type Clock, type LimitOptions, type RedisSse } from "../../lib/index.js";
import { sseStream, taskStream, type RouteParams, type SseStreamOptions } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import { describeFaults } from "../support/fault-rig.js";
import { getRequest, openWire } from "../support/wire-client.js";
import { captureLog, expectFault } from "../support/service.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";
import { codeOf, isConnected, typesOf } from "../support/fault-steps.js";

type Resolver = () => string | Promise<string>;
type Options = Pick<SseStreamOptions, "key" | "onUnavailable" | "retryMs">;
type Mount = (resolver: Resolver, options: SseStreamOptions) => RequestHandler<RouteParams>;

for (const [name, make] of [
  ["sseStream()", sseStream],
  ["taskStream()", taskStream],
] as readonly (readonly [string, Mount])[]) {
  describeFaults(`${name} with a faulty app`, (rig) => {
    let service: RedisSse;
    let app: TestApp;
    /** The last return value of the handler. */
    let handled: unknown;
    /** A valid result of the resolver. */
    let known: string;
    /** The response to the last request. */
    let res: Response;

    afterEach(restore);

    async function start(
      resolver: Resolver,
      options: Options & { limits?: LimitOptions; clock?: Clock; byDefault?: { retryMs: number } } = {},
      before: (response: Response) => void = () => {},
    ): Promise<void> {
      const { limits, clock, byDefault, ...stream } = options;
      service = rig.connect({ limits, clock, ...byDefault });
      known = (await service.queue("media").enqueue("resize", null)).id;
      app = await startApp((router) => {
        router.use((_req, response, next) => {
          before((res = response));
          next();
        });
        const handler = make(resolver, { service, ...stream }) as RequestHandler;
        router.use("/stream", (req, res, next) => void (handled = handler(req, res, next)));
      });
      rig.undo(() => app.close());
    }

    const ask = (method = "GET"): Promise<globalThis.Response> => fetch(`${app.url}/stream`, { method });

    async function open(): Promise<SseClient> {
      const client = await openStream(`${app.url}/stream`);
      rig.undo(() => client.destroy());
      return client;
    }

    async function openToEnd(): Promise<SseClient> {
      const client = await open();
      await client.ended;
      return client;
    }

    const never = (): Promise<string> => new Promise(() => {});
    const limits = { resolverTimeoutMs: 60 };

    const refused = async (): Promise<unknown> => (await service.status()).sessions.refused;

    describe("a resolver that never settles", () => {
      it("causes a retryable error after its deadline, which is counted and logged", async () => {
        await start(never, { limits });
        const log = captureLog("redis-sse:service");
        try {
          const client = await openToEnd();
          expect(client.status).to.equal(200);
          expect(client.retryMs).to.be.within(2_000, 4_000);
          expect(typesOf(client)).to.deep.equal(["error"]);
          expect(codeOf(client)).to.equal("RESOLVER_TIMEOUT");
          expect(log.lines.join("\n")).to.match(/resolver .*60 ms/);
        } finally {
          log.restore();
        }
        expect(await refused()).to.deep.equal({ RESOLVER_TIMEOUT: 1 });
        expect((await service.status()).sessions.opened).to.equal(0);
        expect(app.errors).to.deep.equal([]);
      });

      it("causes 503 with Retry-After, also for HEAD, if the mount answers faults with a status", async () => {
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
        await start(() => (reached.resolve(), never()), { clock });
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
        it(`is abandoned when the service starts to ${how}`, async () => {
          const reached = deferred();
          await start(() => (reached.resolve(), never()));
          const opening = open();
          await reached.promise;
          await service[how]();
          const client = await opening;
          await client.ended;
          expect(codeOf(client)).to.equal("CLOSED");
          expect((await ask()).status).to.equal(200);
          expect(await refused()).to.deep.equal({ CLOSED: 2 });
        });
      }
    });

    it("opens no stream if the resolver returns too late, and logs a late error without its message", async () => {
      const answers = [deferred<string>(), deferred<string>()] as const;
      let round = 0;
      await start(() => answers[round++]!.promise, { limits });
      for (const [index, answer] of answers.entries()) {
        await openToEnd();
        const log = captureLog("redis-sse:service");
        try {
          if (index === 0) answer.resolve(known);
          else answer.reject(new TypeError("the password is hunter2"));
          await settle();
          const said = log.lines.join("\n");
          if (index === 1) expect(said).to.include("TypeError").and.to.not.include("hunter2");
        } finally {
          log.restore();
        }
      }
      expect((await service.status()).sessions.opened).to.equal(0);
      expect(app.errors).to.deep.equal([]);
    });

    it("passes errors of the resolver to next(err) unchanged, except retryable errors of this library", async () => {
      const errors = [new Error("mishap"), new RedisSseError("FORBIDDEN", "of the app")];
      const passing = new RedisSseError("REDIS_UNAVAILABLE", "Redis is away");
      let round = 0;
      await start(() => {
        const error = [...errors, passing][round++ % 3]!;
        if (round > 3) return Promise.reject(error);
        throw error;
      });
      // A browser does not reconnect after a status other than 200.
      for (const status of [500, 500, 200, 500, 500, 200]) expect((await ask()).status).to.equal(status);
      expect(app.errors).to.deep.equal([...errors, ...errors]);
      expect(await refused()).to.deep.equal({ REDIS_UNAVAILABLE: 2 });
    });

    for (const [whose, retryMs, least] of [
      ["service", undefined, 30_000],
      ["mount", 500, 500],
    ] as const) {
      it(`sends a retryable error with the retryMs of the ${whose}`, async () => {
        const passing = new RedisSseError("REDIS_UNAVAILABLE", "Redis is away");
        await start(() => Promise.reject(passing), { byDefault: { retryMs: 30_000 }, retryMs });
        expect((await openToEnd()).retryMs).to.be.within(least, 2 * least);
      });
    }

    describe("key()", () => {
      for (const [what, key, user] of [
        ["a number", 7, "7"],
        ["a promise of a string", Promise.resolve("ann"), "ann"],
        ["a promise of null", Promise.resolve(null), "-"],
      ] as const) {
        it(`counts the stream for ${user} if it returns ${what}`, async () => {
          await start(() => known, { key: () => key, limits: { maxSessionsPerKey: 1 } });
          const log = captureLog("redis-sse:session");
          try {
            await (await open()).next(isConnected);
            expect(log.lines.join("\n")).to.include(`user=${user},`);
          } finally {
            log.restore();
          }
          const again = await open();
          await again.next(({ event }) => event === (user === "-" ? "connected" : "error"));
        });
      }

      it("has the same deadline as the resolver", async () => {
        await start(() => known, { key: never, limits });
        expect(codeOf(await openToEnd())).to.equal("RESOLVER_TIMEOUT");
      });

      it("causes one error and no unhandled rejection if it throws while the resolver rejects", async () => {
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

    describe("response headers sent too early", () => {
      for (const method of ["flushHeaders", "write"] as const) {
        it(`by res.${method}() in an earlier middleware cause HEADERS_SENT and end the response`, async () => {
          await start(
            () => known,
            {},
            (response) => (method === "write" ? response.write(":\n\n") : response.flushHeaders()),
          );
          await openToEnd();
          expectFault(app.errors[0], "HEADERS_SENT");
          expect((app.errors[0] as Error).message).to.match(/earlier middleware.*res\.flushHeaders\(\)/s);
          expect((await service.status()).sessions.opened).to.equal(0);
        });
      }

      it("by the resolver cause HEADERS_SENT, even if the resolver then hangs", async () => {
        let hangs = false;
        await start(
          () => {
            res.flushHeaders();
            return hangs ? never() : known;
          },
          { limits },
        );
        for (hangs of [false, true]) await openToEnd();
        expect(app.errors).to.have.length(2);
        for (const error of app.errors) expectFault(error, "HEADERS_SENT");
      });

      it("by a resolver that then throws a retryable error cause no rejection, which Express 4 would not catch", async () => {
        await start(() => {
          res.flushHeaders();
          throw new RedisSseError("REDIS_UNAVAILABLE", "Redis is away");
        });
        await openToEnd();
        await handled;
        expectFault(app.errors[0], "HEADERS_SENT");
      });

      it("with a complete response are left unchanged", async () => {
        let early = true;
        await start(
          () => {
            res.status(418).end();
            return known;
          },
          {},
          (response) => early && response.status(418).end(),
        );
        for (early of [true, false]) expect((await ask()).status).to.equal(418);
        await settle();
        expect(app.errors).to.deep.equal([]);
        expect((await service.status()).sessions).to.deep.include({ opened: 0, refused: {} });
      });
    });
  });
}

describeFaults("a missing value in a channel name", (rig) => {
  afterEach(restore);

  it("causes one warning per mount, and the stream opens", async () => {
    const warn = stub(console, "warn");
    const { openLive } = await rig.start();
    for (let round = 0; round < 2; round++) await openLive("user:undefined");
    await openLive("user:ann");
    expect(warn.callCount).to.equal(1);
    expect(warn.firstCall.args[0]).to.include('"user:undefined"');
    const other = await rig.start();
    await other.openLive("user:null");
    expect(warn.callCount).to.equal(2);
  });
});

describeFaults("open() and check() with invalid options", (rig) => {
  it("fail with CONFIG, but accept a number as a key", async () => {
    const service = rig.connect({ limits: { maxSessionsPerKey: 1 } });
    const keys = [["ann"], { id: "ann" }, Promise.resolve("ann"), true] as never[];
    for (const request of [...keys.map((key) => ({ key })), { retryMs: 0.5 }, { heartbeatMs: NaN }]) {
      expectFault(service.check(request, "a"), "CONFIG");
      const sink = rig.sink();
      expectFault(await service.open(request, sink, "a").catch((error: unknown) => error), "CONFIG");
      expect(sink.answered?.status).to.equal(500);
    }
    expectFault(service.check({ onLimit: "evict" as never }, "a"), "CONFIG");
    expect((await service.status()).sessions.opened).to.equal(0);
    await service.open({ key: 7 }, rig.sink(), "a");
    for (const key of [7, 7n, "7"]) expectFault(service.check({ key }, "a"), "LIMIT_SESSIONS_PER_KEY");
    expect(service.check({ key: 7, onLimit: "evict-oldest" }, "a")).to.equal(null);
  });
});
