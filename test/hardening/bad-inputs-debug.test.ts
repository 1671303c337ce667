import type { Request } from "express";
import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import { bearerAuth, redisPoolStatus } from "../../middleware/express.js";
import { describeFaults } from "../support/fault-rig.js";
import { freePort } from "../support/redis-server.js";
import { openWire } from "../support/wire-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const TOKEN = "s3cret-T0ken";
const DENIED = { code: "UNAUTHORIZED", message: "Not authorized: authorize() did not accept this request." };

describeFaults("redisPoolStatus() with bad requests", (rig) => {
  let service: RedisSse;
  let app: TestApp;

  async function start(authorize: (req: Request) => unknown, redis = rig.server.url): Promise<void> {
    service = rig.connect({ redis });
    app = await startApp((router) => {
      router.get("/pool", redisPoolStatus({ service, authorize: authorize as (req: Request) => boolean }));
    });
    rig.undo(() => app.close());
  }

  /** Expects a refusal without details. The service must not connect to Redis. */
  async function expectRefused(response: Response, status: number, error: object): Promise<void> {
    expect(response.status).to.equal(status);
    expect(response.headers.get("cache-control")).to.equal("no-store");
    expect(await response.json()).to.deep.equal({ success: false, error });
    expect(service.pool.statistics.connections).to.deep.equal({ command: 0, subscriber: 0, lease: 0 });
  }

  it("answers 401 and does not connect to Redis without the token", async () => {
    await start(bearerAuth(TOKEN));
    const response = await fetch(`${app.url}/pool`);
    expect(response.headers.get("www-authenticate")).to.equal("Bearer");
    await expectRefused(response, 401, DENIED);
  });

  it("answers 401 to two Authorization headers, even if one is correct", async () => {
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
    it(`answers 401 if authorize() returns ${answer instanceof Promise ? "a promise of a string" : JSON.stringify(answer)}`, async () => {
      await start(() => answer);
      await expectRefused(await fetch(`${app.url}/pool`), 401, DENIED);
    });
  }

  const mishap = new Error("password=hunter2");
  for (const [how, authorize] of Object.entries({
    throws: () => {
      throw mishap;
    },
    rejects: () => Promise.reject(mishap),
  })) {
    it(`answers 500 without details and does not connect to Redis if authorize() ${how}`, async () => {
      await start(authorize);
      const message = "authorize() failed";
      await expectRefused(await fetch(`${app.url}/pool`), 500, { code: "INTERNAL", message });
    });
  }

  for (const [what, code, portOf] of [
    ["Redis is down", "REDIS_UNAVAILABLE", freePort],
    ["Redis rejects the password", "REDIS_AUTH", () => rig.server.port],
  ] as const) {
    it(`answers 503 ${code} with the pool's own figures and without secrets if ${what}`, async () => {
      await rig.server.admin.config("SET", "requirepass", "right");
      await start(() => true, `redis://:hunter2@127.0.0.1:${await portOf()}`);
      const response = await fetch(`${app.url}/pool`);
      const text = await response.text();
      expect(response.status).to.equal(503);
      expect(response.headers.get("cache-control")).to.equal("no-store");
      const { data, ...rest } = JSON.parse(text) as { data: Record<string, unknown> };
      expect(rest).to.deep.equal({ success: false, error: { code } });
      expect(data["redis_server"]).to.equal(null);
      expect(data["pool"]).to.deep.include({ max_connections: 200, in_use_connections: 0 });
      expect(text).to.not.match(/hunter2|127\.0\.0\.1|ECONNREFUSED/);
    });
  }
});
