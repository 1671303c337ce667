import { inspect } from "node:util";

import { expect } from "chai";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { getRequest, openRaw } from "../support/raw-client.js";
import { expectRefusal } from "../support/refusal.js";
import { RedisServer } from "../support/redis-server.js";
import { captureLog } from "../support/service.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const isConnected = ({ event }: { event: string }): boolean => event === "connected";

describe("bad requests for a stream", () => {
  let server: RedisServer;
  let service: RedisSse;
  let app: TestApp;
  /** What the resolver of `/any` answers. */
  let selection: unknown;
  const clients: SseClient[] = [];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  beforeEach(async () => {
    service = createRedisSse({
      redis: server.url,
      limits: { maxChannelsPerSession: 3, maxSessionsPerKey: 2, maxSessions: 4 },
    });
    app = await startApp((router) => {
      router.get(
        "/any",
        sseStream(() => selection as string, { service }),
      );
      router.get(
        ["/stream", "/path/:channel"],
        sseStream((req) => (req.params["channel"] ?? req.query["channel"]) as string, {
          service,
          key: (req) => req.query["user"] as string | undefined,
        }),
      );
      router.use(
        "/mounted",
        sseStream(() => "a", { service }),
      );
    });
    await server.admin.call("CONFIG", "RESETSTAT");
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await service.close();
    await app.close();
  });

  after(() => server?.stop());

  function ask(
    path: string,
    { method = "GET", headers = {} }: { method?: string; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    return fetch(app.url + path, { method, headers: { accept: "text/event-stream", ...headers } });
  }

  async function open(path: string, headers?: Record<string, string>): Promise<SseClient> {
    const client = await openStream(app.url + path, headers && { headers });
    clients.push(client);
    return client;
  }

  async function openLive(path: string, headers?: Record<string, string>): Promise<SseClient> {
    const client = await open(path, headers);
    await client.next(isConnected);
    return client;
  }

  async function expectNothingOpened(): Promise<void> {
    const { sessions, channels } = await service.status();
    expect(sessions).to.deep.include({ open: 0, opened: 0 });
    expect(channels).to.deep.equal([]);
    expect(await server.callsOf("subscribe")).to.equal(0);
  }

  const BAD_SELECTIONS: Readonly<Record<string, readonly [unknown, string?]>> = {
    "a line end": ["secret\r\nb", "secret"],
    NUL: ["secret\0b", "secret"],
    "an escape character": ["secret\u001b[2J", "secret"],
    DEL: ["secret\u007f", "secret"],
    "an empty name": [""],
    "an empty name in a list": [["a", ""]],
    "an undefined in a list": [["a", undefined]],
    "a null in a list": [[null]],
    "a number": [4711, "4711"],
    "an object": [{ secret: 1 }, "secret"],
    true: [true],
    "a nested list": [[["secret", "admin"]], "secret"],
    "a name of 513 bytes": [`${"é".repeat(256)}x`],
    "a lone surrogate": ["secret\ud800", "secret"],
  };
  for (const [what, [value, secret]] of Object.entries(BAD_SELECTIONS)) {
    it(`${what} from a resolver is 400 INVALID_CHANNEL, is not repeated, and nothing is subscribed`, async () => {
      selection = value;
      await expectRefusal(await ask("/any"), 400, "INVALID_CHANNEL", secret);
      await expectNothingOpened();
    });
  }

  for (const nothing of [null, undefined, false, []]) {
    it(`${JSON.stringify(nothing)} from a resolver is 403 FORBIDDEN`, async () => {
      selection = nothing;
      await expectRefusal(await ask("/any"), 403, "FORBIDDEN");
      await expectNothingOpened();
    });
  }

  for (const name of ["__keyevent@0__:expired", "__keyspace@0__:secret", "sse:secret", "sse:"]) {
    it(`the channel ${name} is 403 FORBIDDEN, alone and among others`, async () => {
      for (const value of [name, ["a", name]]) {
        selection = value;
        await expectRefusal(await ask("/any"), 403, "FORBIDDEN", "secret");
      }
      await expectNothingOpened();
    });
  }

  it("a parameter that is given twice is two channels, never one with a comma", async () => {
    const client = await openLive("/stream?channel=a&channel=b");
    expect((await server.activeChannels()).toSorted()).to.deep.equal(["a", "b"]);
    expect(JSON.parse(client.events[0]!.data)).to.have.deep.property("channels", ["a", "b"]);
  });

  it("an object that a query parser makes is 400 INVALID_CHANNEL", async () => {
    app.app.set("query parser", "extended");
    await expectRefusal(await ask("/stream?channel[secret]=1"), 400, "INVALID_CHANNEL", "secret");
    await expectNothingOpened();
  });

  it("more channels than a stream may have are 400 LIMIT_CHANNELS, and the same one again is not one more", async () => {
    await expectRefusal(await ask("/stream?channel=a&channel=b&channel=c&channel=d"), 400, "LIMIT_CHANNELS");
    await expectNothingOpened();
    await openLive("/stream?channel=a&channel=b&channel=a&channel=b&channel=c");
    expect((await server.activeChannels()).toSorted()).to.deep.equal(["a", "b", "c"]);
  });

  it("names that are patterns to Redis are subscribed as names, and no pattern is", async () => {
    for (const name of ["*", "a?c", "h[ae]llo"]) {
      const client = await openLive(`/stream?channel=${encodeURIComponent(name)}`);
      expect(await server.activeChannels()).to.include(name);
      await server.admin.publish("abc", "other");
      await server.admin.publish("hello", "other");
      await server.admin.publish(name, "own");
      await client.next(({ data }) => data === "own");
      expect(client.events).to.have.length(2);
    }
    expect(await server.admin.pubsub("NUMPAT")).to.equal(0);
    expect(await server.callsOf("psubscribe")).to.equal(0);
  });

  it("names that mean something to JavaScript are heard, also after the connection was lost", async () => {
    const names = ["__proto__", "constructor", "toString"];
    const query = names.map((name) => `channel=${name}`).join("&");
    const client = await openLive(`/stream?${query}`);
    for (const name of names) await server.admin.publish(name, `before ${name}`);
    await server.killSubscribers();
    const gap = await client.next(({ event }) => event === "gap", 10_000);
    expect((JSON.parse(gap.data) as { channels: string[] }).channels).to.have.members(names);
    for (const name of names) {
      await server.admin.publish(name, `after ${name}`);
      await client.next(({ data }) => data === `after ${name}`);
    }
  });

  for (const path of ["/path/%", "/path/%ff"]) {
    it(`the path ${path} is a 400 to the app, and its resolver is not asked`, async () => {
      await ask(path);
      expect(app.errors).to.have.length(1);
      expect(app.errors[0]).to.have.property("status", 400);
      await expectNothingOpened();
    });
  }

  it("a path is decoded before it is checked", async () => {
    await expectRefusal(await ask("/path/a%0d%0asecret"), 400, "INVALID_CHANNEL", "secret");
    await expectRefusal(await ask("/path/sse%3asecret"), 403, "FORBIDDEN", "secret");
    await expectNothingOpened();
  });

  describe("by its method and headers", () => {
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      it(`${method} is 405, with the methods that are allowed`, async () => {
        const response = await ask("/mounted", { method });
        expect(response.headers.get("allow")).to.equal("GET, HEAD");
        expect(response.headers.get("access-control-allow-origin")).to.equal(null);
        await expectRefusal(response, 405, "METHOD_NOT_ALLOWED");
        await expectNothingOpened();
      });
    }

    it("HEAD has the head of the stream or of its refusal, no body, and opens nothing", async () => {
      const head = await ask("/mounted", { method: "HEAD" });
      expect(head.status).to.equal(200);
      expect(head.headers.get("content-type")).to.equal("text/event-stream");
      expect(head.headers.get("cache-control")).to.equal("no-cache, no-transform");
      for (const [value, status] of [
        [null, 403],
        ["a\n", 400],
      ] as const) {
        selection = value;
        const refused = await ask("/any", { method: "HEAD" });
        expect(refused.status).to.equal(status);
        expect(refused.headers.get("cache-control")).to.equal("no-store");
        expect(await refused.text()).to.equal("");
      }
      await expectNothingOpened();
    });

    for (const accept of [
      "text/html",
      "application/json",
      "text/event-stream;q=0",
      "text/html, image/*;q=0.5",
    ]) {
      it(`Accept: ${accept} is 406 NOT_ACCEPTABLE`, async () => {
        await expectRefusal(await ask("/mounted", { headers: { accept } }), 406, "NOT_ACCEPTABLE");
        await expectNothingOpened();
      });
    }

    for (const accept of ["text/event-stream", "*/*", "text/*", "text/html, */*;q=0.1"]) {
      it(`Accept: ${accept} is a stream`, async () => {
        expect((await openLive("/mounted", { Accept: accept })).status).to.equal(200);
      });
    }

    it("no Accept at all is a stream", async () => {
      const client = await openRaw(app.url, "GET /mounted HTTP/1.1\r\nHost: localhost\r\n\r\n");
      await client.until("event: connected");
      expect(client.statuses).to.deep.equal([200]);
      client.socket.destroy();
    });

    const LAST_EVENT_IDS: Readonly<Record<string, string>> = {
      $: "$",
      "+": "+",
      "-1": "-1",
      "1-1-1": "1-1-1",
      "2^64": "18446744073709551616-0",
      SQL: "'; DROP TABLE users",
      "an emoji": Buffer.from("🎉").toString("latin1"),
      HTML: "<script>alert(1)</script>",
      "300 bytes": "9".repeat(300),
      "15 KB": "x".repeat(15_000),
      "two headers": "17, 18",
    };
    for (const [what, value] of Object.entries(LAST_EVENT_IDS)) {
      it(`a Last-Event-ID of ${what} opens a stream, and is not repeated`, async () => {
        const client = await openLive("/mounted", { "Last-Event-ID": value });
        const { sessionId } = JSON.parse(client.events[0]!.data) as { sessionId: string };
        expect(client.status).to.equal(200);
        const said = client.text.replace(sessionId, "") + JSON.stringify(client.headers["set-cookie"] ?? "");
        expect(said).to.not.include(value);
        expect(client.events[0]!.id || undefined).to.equal(undefined);
      });
    }

    it("a Last-Event-ID of 20 KB is 431", async () => {
      const client = await openRaw(
        app.url,
        getRequest("/mounted").replace("\r\n\r\n", `\r\nLast-Event-ID: ${"x".repeat(20_000)}\r\n\r\n`),
      );
      await client.closed;
      expect(client.statuses).to.deep.equal([431]);
      await expectNothingOpened();
    });

    const SMUGGLED: Readonly<Record<string, string>> = {
      "two lengths that differ":
        "POST /mounted HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
      "a length and chunks":
        "POST /mounted HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "lines that end with LF alone": "GET /mounted HTTP/1.1\nHost: a\n\n",
      "no Host": "GET /mounted HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n",
      "a control character in a header": "GET /mounted HTTP/1.1\r\nHost: a\r\nLast-Event-ID: a\0b\r\n\r\n",
    };
    for (const [what, text] of Object.entries(SMUGGLED)) {
      it(`a request with ${what} is 400`, async () => {
        const client = await openRaw(app.url, text);
        await client.closed;
        expect(client.statuses).to.deep.equal([400]);
        await expectNothingOpened();
      });
    }
  });

  describe("too many", () => {
    it("of one key are 429 with a Retry-After, and those that are open stay", async () => {
      const first = await openLive("/stream?channel=a&user=ann");
      const second = await openLive("/stream?channel=a&user=ann");
      for (let round = 0; round < 3; round++) {
        const response = await ask("/stream?channel=a&user=ann");
        expect(Number(response.headers.get("retry-after"))).to.be.within(2, 4);
        await expectRefusal(response, 429, "LIMIT_SESSIONS_PER_KEY", "ann");
      }
      await server.admin.publish("a", "still here");
      for (const client of [first, second]) await client.next(({ data }) => data === "still here");
      const { sessions } = await service.status();
      expect(sessions).to.deep.include({
        open: 2,
        opened: 2,
        closed: {},
        refused: { LIMIT_SESSIONS_PER_KEY: 3 },
      });
    });

    it("of all keys are told to come back, and those that are open stay", async () => {
      const kept = await Promise.all(
        ["ann", "ann", "bob", "bob"].map((user) => openLive(`/stream?channel=a&user=${user}`)),
      );
      const refused = await open("/stream?channel=a&user=cid");
      await refused.ended;
      expect(refused.status).to.equal(200);
      expect(refused.retryMs).to.be.within(2_000, 4_000);
      expect(refused.events.map(({ event }) => event)).to.deep.equal(["error"]);
      expect(JSON.parse(refused.events[0]!.data)).to.have.property("code", "LIMIT_SESSIONS");
      await server.admin.publish("a", "still here");
      for (const client of kept) await client.next(({ data }) => data === "still here");
    });

    it("of one address are refused whatever X-Forwarded-For says, unless the app trusts its proxy", async () => {
      const own = createRedisSse({ redis: server.url, limits: { maxSessionsPerKey: 1 } });
      const behind = await startApp((router) => {
        router.get(
          "/stream",
          sseStream(() => "a", { service: own, key: (req) => req.ip }),
        );
      });
      try {
        const come = async (address: string): Promise<number> => {
          const client = await openStream(`${behind.url}/stream`, {
            headers: { "X-Forwarded-For": address },
          });
          clients.push(client);
          if (client.status === 200) await client.next(isConnected);
          return client.status;
        };
        expect(await come("10.0.0.1")).to.equal(200);
        expect(await come("10.0.0.2")).to.equal(429);
        behind.app.set("trust proxy", true);
        expect(await come("10.0.0.3")).to.equal(200);
        expect(await come("10.0.0.3")).to.equal(429);
      } finally {
        for (const client of clients.splice(0)) client.destroy();
        await own.close();
        await behind.close();
      }
    });
  });

  describe("in the log", () => {
    it("nothing is said of a request's query and headers", async () => {
      const log = captureLog("redis-sse:*");
      try {
        const headers = { Authorization: "Bearer s3cret", Cookie: "id=s3cret", "Last-Event-ID": "s3cret" };
        const client = await openLive("/stream?channel=a&token=s3cret", headers);
        await ask("/stream?token=s3cret", { headers });
        client.destroy();
        await eventually(() => expect(log.lines.join("\n")).to.include("client disconnected"));
      } finally {
        log.restore();
      }
      expect(log.lines.join("\n")).to.not.include("s3cret");
    });

    it("a channel's name forges no line, and moves no cursor", async () => {
      const log = captureLog("redis-sse:*");
      try {
        selection = "a\u009b2Jb\u2028c\u0085d";
        const client = await openLive("/any");
        client.destroy();
        await eventually(() => expect(log.lines.join(" ")).to.include("client disconnected"));
      } finally {
        log.restore();
      }
      const said = log.lines.join(" ");
      expect(said).to.include(String.raw`"a\u009b2Jb\u2028c\u0085d"`);
      expect(said).to.not.match(/[\u0080-\u009f\u2028\u2029]/);
    });
  });

  describe("by its configuration", () => {
    for (const value of ["0\r\nevent: x", -1, 0, 1.5, NaN, Infinity, 1e99, "2000", null]) {
      it(`a retry hint or a heartbeat of ${inspect(value)} is CONFIG at once`, () => {
        for (const name of ["retryMs", "heartbeatMs"]) {
          for (const make of [
            () => createRedisSse({ redis: server.url, [name]: value }),
            () => sseStream(() => "a", { service, [name]: value as number }),
          ]) {
            expect(make).to.throw(new RegExp(name)).with.property("code", "CONFIG");
          }
        }
      });
    }
  });
});
