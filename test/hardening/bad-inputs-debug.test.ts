import type { Request } from "express";
import { expect } from "chai";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { bearerAuth, redisPoolStatus } from "../../middleware/express.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { openWire } from "../support/wire-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const TOKEN = "s3cret-T0ken";
const DENIED = { code: "UNAUTHORIZED", message: "Not authorized: authorize() did not accept this request." };

describe("bad requests for the pool's state", () => {
  let server: RedisServer;
  let service: RedisSse;
  let app: TestApp;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  afterEach(async () => {
    await service.close();
    await app.close();
  });

  after(() => server?.stop());

  async function start(authorize: (req: Request) => unknown, redis = server.url): Promise<void> {
    service = createRedisSse({ redis });
    app = await startApp((router) => {
      router.get("/pool", redisPoolStatus({ service, authorize: authorize as (req: Request) => boolean }));
    });
  }

  const ask = (authorization?: string): Promise<Response> =>
    fetch(`${app.url}/pool`, { headers: authorization === undefined ? {} : { authorization } });

  /** The request was refused without detail, and Redis was not asked. */
  async function expectRefused(response: Response, status: number, error: object): Promise<void> {
    expect(response.status).to.equal(status);
    expect(response.headers.get("cache-control")).to.equal("no-store");
    expect(await response.json()).to.deep.equal({ success: false, error });
    expect(service.pool.statistics.connections).to.deep.equal({ command: 0, subscriber: 0, lease: 0 });
  }

  for (const [what, authorization] of [
    ["no credentials", undefined],
    ["an empty header", ""],
    ["the scheme alone", "Bearer"],
    ["a token of one character", "Bearer x"],
    ["the beginning of the token", `Bearer ${TOKEN.slice(0, -1)}`],
    ["more than the token", `Bearer ${TOKEN}x`],
    ["the scheme in lower case", `bearer ${TOKEN}`],
    ["another scheme", `Basic ${TOKEN}`],
    ["the token alone", TOKEN],
    ["the token twice", `Bearer ${TOKEN} ${TOKEN}`],
    ["a token of 10 KB", `Bearer ${"x".repeat(10_000)}`],
  ] as const) {
    it(`${what}: 401 with the same words as always, and Redis is not asked`, async () => {
      await start(bearerAuth(TOKEN));
      const response = await ask(authorization);
      expect(response.headers.get("www-authenticate")).to.equal("Bearer");
      await expectRefused(response, 401, DENIED);
    });
  }

  it("two Authorization headers are 401, whichever is right", async () => {
    await start(bearerAuth(TOKEN));
    const lines = [`Authorization: Bearer x`, `Authorization: Bearer ${TOKEN}`].join("\r\n");
    const client = await openWire(
      app.url,
      `GET /pool HTTP/1.1\r\nHost: localhost\r\n${lines}\r\nConnection: close\r\n\r\n`,
    );
    await client.closed;
    expect(client.statuses).to.deep.equal([401]);
  });

  for (const answer of ["yes", 1, {}, [true], undefined, null, Promise.resolve("true")]) {
    it(`an authorize that answers ${answer instanceof Promise ? "a promise of text" : JSON.stringify(answer)} admits nobody`, async () => {
      await start(() => answer);
      await expectRefused(await ask(), 401, DENIED);
    });
  }

  const mishap = new Error("password=hunter2");
  for (const [how, authorize] of Object.entries({
    throws: () => {
      throw mishap;
    },
    rejects: () => Promise.reject(mishap),
  })) {
    it(`an authorize that ${how} is a 500 without detail, and Redis is not asked`, async () => {
      await start(authorize);
      const message = "authorize() failed";
      await expectRefused(await ask(), 500, { code: "INTERNAL", message });
    });
  }

  for (const [what, code, portOf] of [
    ["Redis down", "REDIS_UNAVAILABLE", freePort],
    ["a password that Redis refuses", "REDIS_AUTH", () => server.port],
  ] as const) {
    it(`with ${what} it is 503 ${code}, with the state that is known, and no secret`, async () => {
      await server.admin.config("SET", "requirepass", "right");
      try {
        await start(() => true, `redis://:hunter2@127.0.0.1:${await portOf()}`);
        const response = await ask();
        const text = await response.text();
        expect(response.status).to.equal(503);
        expect(response.headers.get("cache-control")).to.equal("no-store");
        const { data, ...rest } = JSON.parse(text) as { data: Record<string, unknown> };
        expect(rest).to.deep.equal({ success: false, error: { code } });
        expect(data["redis_server"]).to.equal(null);
        expect(data["pool"]).to.deep.include({ max_connections: 200, in_use_connections: 0 });
        expect(text).to.not.match(/hunter2|127\.0\.0\.1|ECONNREFUSED/);
      } finally {
        await server.admin.config("SET", "requirepass", "");
      }
    });
  }
});
