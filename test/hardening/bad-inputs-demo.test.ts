import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";

import { expect } from "chai";

import { startDemo, type DemoProcess } from "../support/demo-process.js";
import { need } from "../support/prerequisites.js";
import { expectRefusal } from "../support/refusal.js";
import { RedisServer } from "../support/redis-server.js";
import { openStream } from "../support/sse-client.js";

type Body = string | Uint8Array<ArrayBuffer>;

describe("the demo with bad requests", () => {
  let server: RedisServer;
  let demo: DemoProcess;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
    demo = await startDemo({ REDIS_URL: server.url });
  });

  after(async () => {
    await demo?.stop();
    await server?.stop();
  });

  function post(path: string, body: Body, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(demo.url + path, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/json", ...headers },
    });
  }

  /** Like `post()`, but can also set headers that `fetch` controls. */
  async function sendRaw(path: string, body: string, headers: Record<string, string>): Promise<Response> {
    const sent = request(demo.url + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
    }).end(body);
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    const given = answer.headers as Record<string, string>;
    return new Response(await text(answer), { status: answer.statusCode!, headers: given });
  }

  const valid = { userId: "ann", title: "secret", body: "b" };
  const nested = "[".repeat(4_900) + "]".repeat(4_900);
  const packed = new Uint8Array(gzipSync(JSON.stringify({ ...valid, body: "x".repeat(10_000_000) })));
  const BODIES: readonly (readonly [string, number, string, Body, Record<string, string>?])[] = [
    ["half of a JSON object", 400, "BAD_REQUEST", '{"secret":'],
    [
      "an unknown content encoding",
      415,
      "BAD_REQUEST",
      JSON.stringify(valid),
      { "Content-Encoding": "secret" },
    ],
    ["a gzip body that unpacks to 10 MB", 413, "BAD_REQUEST", packed, { "Content-Encoding": "gzip" }],
    ["4,900 nested arrays as the body", 400, "INVALID_INPUT", nested],
    ["4,900 nested arrays as the title", 400, "INVALID_INPUT", `{"userId":"a","body":"","title":${nested}}`],
  ];
  for (const [what, status, code, body, headers] of BODIES) {
    it(`answers ${status} ${code} to a notification or a task with ${what}, and does not echo it`, async () => {
      for (const path of ["/api/notifications", "/api/tasks"])
        await expectRefusal(await post(path, body, headers), status, code, "secret");
    });
  }

  const SITES: readonly (readonly [string, boolean, Record<string, string>])[] = [
    ["a page of another site", false, { "Sec-Fetch-Site": "cross-site" }],
    [
      "a page of another site with a forged Origin",
      false,
      { "Sec-Fetch-Site": "cross-site", Origin: "SELF" },
    ],
    ["a page on another port", false, { "Sec-Fetch-Site": "same-site" }],
    ["a page of another origin without Sec-Fetch-Site", false, { Origin: "http://secret.example" }],
    ["a page with the origin null", false, { Origin: "null" }],
    ["its own page", true, { "Sec-Fetch-Site": "same-origin", Origin: "SELF" }],
    ["its own page without Sec-Fetch-Site", true, { Origin: "SELF" }],
    ["a program that is not a browser", true, {}],
  ];
  for (const [sender, isLetIn, headers] of SITES) {
    it(`${isLetIn ? "accepts" : "answers 403 CROSS_SITE to"} a request from ${sender}`, async () => {
      const own = { ...headers, ...(headers["Origin"] === "SELF" && { Origin: demo.url }) };
      const answer = await sendRaw("/api/notifications", JSON.stringify({ ...valid, title: "t" }), own);
      if (isLetIn) expect(answer.status).to.equal(201);
      else await expectRefusal(answer, 403, "CROSS_SITE", "secret");
    });
  }

  it("ignores keys such as __proto__ and constructor", async () => {
    const polluted = '"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}';
    const answer = await post("/api/notifications", `{${polluted},"userId":"pia","title":"t","body":"b"}`);
    expect(answer.status).to.equal(201);
    const task = await post("/api/tasks", `{${polluted},"kind":"k","steps":1,"stepMs":0}`);
    expect(task.status).to.equal(202);
    const list = (await (await fetch(`${demo.url}/api/notifications?user=pia`)).json()) as {
      notifications: Record<string, unknown>[];
    };
    expect(list.notifications.map(({ title }) => title)).to.deep.equal(["t"]);
    expect(JSON.stringify(list)).to.not.include("polluted");
    await expectRefusal(await post("/api/notifications", `{${polluted}}`), 400, "INVALID_INPUT", "polluted");
  });

  it("stores and sends HTML unchanged, in responses that a browser does not render", async () => {
    const stream = await openStream(`${demo.url}/api/notifications/stream?user=eve`);
    try {
      await stream.next(({ event }) => event === "connected");
      const title = "<img src=x onerror=alert(1)></script>\u2028";
      const sent = JSON.stringify({ userId: "eve", title, body: "" });
      expect((await post("/api/notifications", sent)).status).to.equal(201);
      const event = await stream.next(({ event: type }) => type === "message");
      expect(JSON.parse(event.data)).to.have.property("title", title);
      expect(stream.headers["x-content-type-options"]).to.equal("nosniff");
      const list = await fetch(`${demo.url}/api/notifications?user=eve`);
      expect(list.headers.get("content-type")).to.equal("application/json; charset=utf-8");
      expect(list.headers.get("x-content-type-options")).to.equal("nosniff");
      expect(await list.json()).to.have.nested.property("notifications[0].title", title);
    } finally {
      stream.destroy();
    }
  });

  for (const id of ["..%2F..%2Fsecret", "secret:x", "%7Bdemo%7D:secret", "secret%00", "x".repeat(129)]) {
    it(`refuses the task id ${id.slice(0, 24)} on every path without reading a key`, async () => {
      await fetch(`${demo.url}/api/tasks/unknown`);
      const gets = await server.callsOf("hgetall");
      expect(gets).to.be.greaterThan(0);
      await expectRefusal(await fetch(`${demo.url}/api/tasks/${id}`), 404, "UNKNOWN_TASK", "secret");
      await expectRefusal(await fetch(`${demo.url}/api/tasks/${id}/stream`), 400, "INVALID_TASK", "secret");
      expect(await server.callsOf("hgetall")).to.equal(gets);
    });
  }
});

describe("the demo if Redis rejects its password", () => {
  let server: RedisServer;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
    await server.admin.config("SET", "requirepass", "right");
  });

  after(() => server?.stop());

  it("reports REDIS_AUTH and never prints the password", async () => {
    const demo = await startDemo({
      REDIS_URL: `redis://app:hunter2@127.0.0.1:${server.port}`,
      DEBUG: "redis-sse:*",
    });
    const stream = await openStream(`${demo.url}/api/notifications/stream?user=ann`);
    await stream.ended;
    expect(stream.events.map(({ event }) => event)).to.deep.equal(["error"]);
    expect(JSON.parse(stream.events[0]!.data)).to.have.property("code", "REDIS_AUTH");
    const answers = await Promise.all([
      fetch(`${demo.url}/api/notifications?user=ann`),
      fetch(`${demo.url}/api/notifications/debug/redis_pool`, { headers: { authorization: "Bearer demo" } }),
      fetch(`${demo.url}/healthz`),
    ]);
    expect(answers.map(({ status }) => status)).to.deep.equal([503, 503, 200]);
    const [list, pool, health] = await Promise.all(answers.map((answer) => answer.text()));
    expect(list).to.include('"code":"REDIS_AUTH"');
    expect(pool).to.include('"redis_server":null').and.to.include('"code":"REDIS_AUTH"');
    const { exitCode, stdout, stderr } = await demo.stop();
    expect(exitCode).to.equal(0);
    expect(stderr).to.include("redis-sse:"); // debug output was enabled
    for (const text of [demo.redis, stream.text, list, pool, health, stdout, stderr])
      expect(text).to.not.include("hunter2");
  }).timeout(30_000);
});
