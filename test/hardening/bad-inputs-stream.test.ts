import { inspect } from "node:util";

import { expect } from "chai";

import { createRedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { eventually } from "../support/eventually.js";
import { expectRefusal } from "../support/refusal.js";
import { describeRequests } from "../support/request-rig.js";
import { captureLog } from "../support/service.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { startApp } from "../support/test-app.js";

describeRequests("bad requests for a stream", (rig) => {
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
      rig.select(value);
      await expectRefusal(await rig.ask("/any"), 400, "INVALID_CHANNEL", secret);
      await rig.expectNothingOpened();
    });
  }

  for (const nothing of [null, undefined, false, []]) {
    it(`${JSON.stringify(nothing)} from a resolver is 403 FORBIDDEN`, async () => {
      rig.select(nothing);
      await expectRefusal(await rig.ask("/any"), 403, "FORBIDDEN");
      await rig.expectNothingOpened();
    });
  }

  for (const name of ["__keyevent@0__:expired", "__keyspace@0__:secret", "sse:secret", "sse:"]) {
    it(`the channel ${name} is 403 FORBIDDEN, alone and among others`, async () => {
      for (const value of [name, ["a", name]]) {
        rig.select(value);
        await expectRefusal(await rig.ask("/any"), 403, "FORBIDDEN", "secret");
      }
      await rig.expectNothingOpened();
    });
  }

  it("a parameter that is given twice is two channels, never one with a comma", async () => {
    const client = await rig.openLive("/stream?channel=a&channel=b");
    expect((await rig.server.activeChannels()).toSorted()).to.deep.equal(["a", "b"]);
    expect(JSON.parse(client.events[0]!.data)).to.have.deep.property("channels", ["a", "b"]);
  });

  it("an object that a query parser makes is 400 INVALID_CHANNEL", async () => {
    rig.app.app.set("query parser", "extended");
    await expectRefusal(await rig.ask("/stream?channel[secret]=1"), 400, "INVALID_CHANNEL", "secret");
    await rig.expectNothingOpened();
  });

  it("more channels than a stream may have are 400 LIMIT_CHANNELS, and the same one again is not one more", async () => {
    await expectRefusal(
      await rig.ask("/stream?channel=a&channel=b&channel=c&channel=d"),
      400,
      "LIMIT_CHANNELS",
    );
    await rig.expectNothingOpened();
    await rig.openLive("/stream?channel=a&channel=b&channel=a&channel=b&channel=c");
    expect((await rig.server.activeChannels()).toSorted()).to.deep.equal(["a", "b", "c"]);
  });

  it("names that are patterns to Redis are subscribed as names, and no pattern is", async () => {
    for (const name of ["*", "a?c", "h[ae]llo"]) {
      const client = await rig.openLive(`/stream?channel=${encodeURIComponent(name)}`);
      expect(await rig.server.activeChannels()).to.include(name);
      await rig.server.admin.publish("abc", "other");
      await rig.server.admin.publish("hello", "other");
      await rig.server.admin.publish(name, "own");
      await client.next(({ data }) => data === "own");
      expect(client.events).to.have.length(2);
    }
    expect(await rig.server.admin.pubsub("NUMPAT")).to.equal(0);
    expect(await rig.server.callsOf("psubscribe")).to.equal(0);
  });

  it("names that mean something to JavaScript are heard, also after the connection was lost", async () => {
    const names = ["__proto__", "constructor", "toString"];
    const query = names.map((name) => `channel=${name}`).join("&");
    const client = await rig.openLive(`/stream?${query}`);
    for (const name of names) {
      await rig.server.admin.publish(name, `before ${name}`);
      await client.next(({ data }) => data === `before ${name}`);
    }
    await rig.server.killSubscribers();
    const gap = await client.next(({ event }) => event === "gap", 10_000);
    expect((JSON.parse(gap.data) as { channels: string[] }).channels).to.have.members(names);
    for (const name of names) {
      await rig.server.admin.publish(name, `after ${name}`);
      await client.next(({ data }) => data === `after ${name}`);
    }
  });

  for (const path of ["/path/%", "/path/%ff"]) {
    it(`the path ${path} is a 400 to the app, and its resolver is not asked`, async () => {
      await rig.ask(path);
      expect(rig.app.errors).to.have.length(1);
      expect(rig.app.errors[0]).to.have.property("status", 400);
      await rig.expectNothingOpened();
    });
  }

  it("a path is decoded before it is checked", async () => {
    await expectRefusal(await rig.ask("/path/a%0d%0asecret"), 400, "INVALID_CHANNEL", "secret");
    await expectRefusal(await rig.ask("/path/sse%3asecret"), 403, "FORBIDDEN", "secret");
    await rig.expectNothingOpened();
  });

  describe("too many", () => {
    it("of one key are told to reconnect, and the open streams stay", async () => {
      const first = await rig.openLive("/stream?channel=a&user=ann");
      const second = await rig.openLive("/stream?channel=a&user=ann");
      for (let round = 0; round < 3; round++) {
        const refused = await rig.open("/stream?channel=a&user=ann");
        await refused.ended;
        expect(refused.status).to.equal(200);
        expect(refused.retryMs).to.be.within(5_000, 10_000);
        expect(refused.events.map(({ event }) => event)).to.deep.equal(["error"]);
        expect(JSON.parse(refused.events[0]!.data)).to.have.property("code", "LIMIT_SESSIONS_PER_KEY");
        expect(refused.text).to.not.include("ann");
      }
      await rig.server.admin.publish("a", "still here");
      for (const client of [first, second]) await client.next(({ data }) => data === "still here");
      const { sessions } = await rig.service.status();
      expect(sessions).to.deep.include({
        open: 2,
        opened: 2,
        closed: {},
        refused: { LIMIT_SESSIONS_PER_KEY: 3 },
      });
    });

    it("of all keys are told to come back, and those that are open stay", async () => {
      const kept = await Promise.all(
        ["ann", "ann", "bob", "bob"].map((user) => rig.openLive(`/stream?channel=a&user=${user}`)),
      );
      const refused = await rig.open("/stream?channel=a&user=cid");
      await refused.ended;
      expect(refused.status).to.equal(200);
      expect(refused.retryMs).to.be.within(2_000, 4_000);
      expect(refused.events.map(({ event }) => event)).to.deep.equal(["error"]);
      expect(JSON.parse(refused.events[0]!.data)).to.have.property("code", "LIMIT_SESSIONS");
      await rig.server.admin.publish("a", "still here");
      for (const client of kept) await client.next(({ data }) => data === "still here");
    });

    it("of one address are refused whatever X-Forwarded-For says, unless the app trusts its proxy", async () => {
      const clients: SseClient[] = [];
      const own = createRedisSse({ redis: rig.server.url, limits: { maxSessionsPerKey: 1 } });
      const behind = await startApp((router) => {
        router.get(
          "/stream",
          sseStream(() => "a", { service: own, key: (req) => req.ip, onLimit: "status" }),
        );
      });
      try {
        const come = async (address: string): Promise<number> => {
          const client = await openStream(`${behind.url}/stream`, {
            headers: { "X-Forwarded-For": address },
          });
          clients.push(client);
          if (client.status === 200) await client.next(({ event }) => event === "connected");
          return client.status;
        };
        expect(await come("10.0.0.1")).to.equal(200);
        expect(await come("10.0.0.2")).to.equal(429);
        behind.app.set("trust proxy", true);
        expect(await come("10.0.0.3")).to.equal(200);
        expect(await come("10.0.0.3")).to.equal(429);
      } finally {
        for (const client of clients) client.destroy();
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
        const client = await rig.openLive("/stream?channel=a&token=s3cret", headers);
        await rig.ask("/stream?token=s3cret", { headers });
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
        rig.select("a\u009b2Jb\u2028c\u0085d");
        const client = await rig.openLive("/any");
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
            () => createRedisSse({ redis: rig.server.url, [name]: value }),
            () => sseStream(() => "a", { service: rig.service, [name]: value as number }),
          ]) {
            expect(make).to.throw(new RegExp(name)).with.property("code", "CONFIG");
          }
        }
      });
    }
  });
});
