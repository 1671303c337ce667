import type { Request } from "express";
import { expect } from "chai";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { bearerAuth, redisPoolStatus } from "../../middleware/express.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { openWire } from "../support/wire-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const TOKEN = "s3cret-T0ken";
const DENIED = {
  success: false,
  error: { code: "UNAUTHORIZED", message: "expected the credentials of an operator" },
};

describe("bad requests for the pool's state", () => {
  let server: RedisServer;
  const apps: TestApp[] = [];
  const services: RedisSse[] = [];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  afterEach(async () => {
    await Promise.all(services.splice(0).map((service) => service.close()));
    await Promise.all(apps.splice(0).map((app) => app.close()));
  });

  after(() => server?.stop());

  async function start(
    authorize: (req: Request) => unknown,
    options: RedisSseOptions = {},
  ): Promise<{ url: string; service: RedisSse; app: TestApp }> {
    const service = createRedisSse({ redis: server.url, ...options });
    services.push(service);
    const app = await startApp((router) => {
      router.get("/pool", redisPoolStatus({ service, authorize: authorize as (req: Request) => boolean }));
    });
    apps.push(app);
    return { url: `${app.url}/pool`, service, app };
  }

  function expectRedisUnasked(service: RedisSse): void {
    expect(service.pool.statistics.connections).to.deep.equal({ command: 0, subscriber: 0, lease: 0 });
  }

  const CREDENTIALS: Readonly<Record<string, string | undefined>> = {
    "no credentials": undefined,
    "an empty header": "",
    "the scheme alone": "Bearer",
    "a token of one character": "Bearer x",
    "the beginning of the token": `Bearer ${TOKEN.slice(0, -1)}`,
    "more than the token": `Bearer ${TOKEN}x`,
    "the scheme in lower case": `bearer ${TOKEN}`,
    "another scheme": `Basic ${TOKEN}`,
    "the token alone": TOKEN,
    "the token twice": `Bearer ${TOKEN} ${TOKEN}`,
    "a token of 10 KB": `Bearer ${"x".repeat(10_000)}`,
  };
  for (const [what, authorization] of Object.entries(CREDENTIALS)) {
    it(`${what}: 401 with the same words as always, and Redis is not asked`, async () => {
      const { url, service } = await start(bearerAuth(TOKEN));
      const response = await fetch(url, { headers: authorization === undefined ? {} : { authorization } });
      expect(response.status).to.equal(401);
      expect(response.headers.get("www-authenticate")).to.equal("Bearer");
      expect(response.headers.get("cache-control")).to.equal("no-store");
      expect(await response.json()).to.deep.equal(DENIED);
      expectRedisUnasked(service);
    });
  }

  it("two Authorization headers are 401, whichever is right", async () => {
    const { app } = await start(bearerAuth(TOKEN));
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
      const { url, service } = await start(() => answer);
      const response = await fetch(url);
      expect(response.status).to.equal(401);
      expect(await response.json()).to.deep.equal(DENIED);
      expectRedisUnasked(service);
    });
  }

  const FAILING: Readonly<Record<string, () => unknown>> = {
    throws: () => {
      throw new Error("password=hunter2");
    },
    rejects: () => Promise.reject(new Error("password=hunter2")),
  };
  for (const [how, authorize] of Object.entries(FAILING)) {
    it(`an authorize that ${how} is a 500 without detail, and Redis is not asked`, async () => {
      const { url, service } = await start(authorize);
      const response = await fetch(url);
      expect(response.status).to.equal(500);
      expect(response.headers.get("cache-control")).to.equal("no-store");
      expect(await response.json()).to.deep.equal({
        success: false,
        error: { code: "INTERNAL", message: "the authorisation could not be checked" },
      });
      expectRedisUnasked(service);
    });
  }

  it("with Redis down it is 503, with the state that is known and a code", async () => {
    const { url } = await start(() => true, { redis: `redis://:hunter2@127.0.0.1:${await freePort()}` });
    const response = await fetch(url);
    const text = await response.text();
    expect(response.status).to.equal(503);
    expect(response.headers.get("cache-control")).to.equal("no-store");
    const { data, ...rest } = JSON.parse(text) as { data: Record<string, unknown> };
    expect(rest).to.deep.equal({ success: false, error: { code: "REDIS_UNAVAILABLE" } });
    expect(data["redis_server"]).to.equal(null);
    expect(data["pool"]).to.deep.include({ max_connections: 200, in_use_connections: 0 });
    expect(text).to.not.match(/hunter2|127\.0\.0\.1|ECONNREFUSED/);
  });

  it("with a password that Redis refuses it is 503 REDIS_AUTH, without the password", async () => {
    await server.admin.config("SET", "requirepass", "right");
    try {
      const { url } = await start(() => true, { redis: `redis://:hunter2@127.0.0.1:${server.port}` });
      const response = await fetch(url);
      const text = await response.text();
      expect(response.status).to.equal(503);
      expect(JSON.parse(text)).to.have.deep.property("error", { code: "REDIS_AUTH" });
      expect(JSON.parse(text)).to.have.nested.property("data.redis_server", null);
      expect(text).to.not.include("hunter2");
    } finally {
      await server.admin.config("SET", "requirepass", "");
    }
  });
});
