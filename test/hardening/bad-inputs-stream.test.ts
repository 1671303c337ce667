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
import { codeOf, isGap, typesOf } from "../support/fault-steps.js";

describeRequests("bad requests for a stream", (rig) => {
  for (const [what, value, secret] of [
    ["a line end", "secret\r\nb", "secret"],
    ["NUL", "secret\0b", "secret"],
    ["an escape character", "secret\u001b[2J", "secret"],
    ["DEL", "secret\u007f", "secret"],
    ["an empty name", ""],
    ["an empty name in a list", ["a", ""]],
    ["an undefined in a list", ["a", undefined]],
    ["a number", 4711, "4711"],
    ["an object", { secret: 1 }, "secret"],
    ["true", true],
    ["a nested list", [["secret", "admin"]], "secret"],
    ["a name of 513 bytes", `${"é".repeat(256)}x`],
    ["a lone surrogate", "secret\ud800", "secret"],
  ] as const) {
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
    const four = await rig.ask("/stream?channel=a&channel=b&channel=c&channel=d");
    await expectRefusal(four, 400, "LIMIT_CHANNELS");
    await rig.expectNothingOpened();
    await rig.openLive("/stream?channel=a&channel=b&channel=a&channel=b&channel=c");
    expect((await rig.server.activeChannels()).toSorted()).to.deep.equal(["a", "b", "c"]);
  });

  it("names that are patterns to Redis are subscribed as names, and no pattern is", async () => {
    for (const name of ["*", "a?c", "h[ae]llo"]) {
      const client = await rig.openLive(`/stream?channel=${encodeURIComponent(name)}`);
      for (const other of ["abc", "hello"]) await rig.server.admin.publish(other, "other");
      await rig.server.admin.publish(name, "own");
      await client.next(({ data }) => data === "own");
      expect(client.events).to.have.length(2);
    }
    expect(await rig.server.admin.pubsub("NUMPAT")).to.equal(0);
  });

  it("names that mean something to JavaScript are heard, also after the connection was lost", async () => {
    const names = ["__proto__", "constructor", "toString"];
    const client = await rig.openLive(`/stream?${names.map((name) => `channel=${name}`).join("&")}`);
    for (const when of ["before", "after"]) {
      for (const name of names) {
        await rig.server.admin.publish(name, `${when} ${name}`);
        await client.next(({ data }) => data === `${when} ${name}`);
      }
      if (when === "after") return;
      await rig.server.killSubscribers();
      const gap = await client.next(isGap, 10_000);
      expect((JSON.parse(gap.data) as { channels: string[] }).channels).to.have.members(names);
    }
  });

  it("a path that cannot be decoded is a 400 to the app, and its resolver is not asked", async () => {
    for (const path of ["/path/%", "/path/%ff"]) await rig.ask(path);
    expect(rig.app.errors.map((error) => (error as { status: number }).status)).to.deep.equal([400, 400]);
    await rig.expectNothingOpened();
  });

  it("a path is decoded before it is checked", async () => {
    await expectRefusal(await rig.ask("/path/a%0d%0asecret"), 400, "INVALID_CHANNEL", "secret");
    await expectRefusal(await rig.ask("/path/sse%3asecret"), 403, "FORBIDDEN", "secret");
    await rig.expectNothingOpened();
  });

  for (const [what, users, user, code, least] of [
    ["of one key", ["ann", "ann"], "ann", "LIMIT_SESSIONS_PER_KEY", 5_000],
    ["of all keys", ["ann", "ann", "bob", "bob"], "cid", "LIMIT_SESSIONS", 2_000],
  ] as const) {
    it(`too many streams ${what} are told to come back, and those that are open stay`, async () => {
      const kept = await Promise.all(users.map((each) => rig.openLive(`/stream?channel=a&user=${each}`)));
      for (let round = 0; round < 3; round++) {
        const refused = await rig.open(`/stream?channel=a&user=${user}`);
        await refused.ended;
        expect(refused.status).to.equal(200);
        expect(refused.retryMs).to.be.within(least, 2 * least);
        expect(typesOf(refused)).to.deep.equal(["error"]);
        expect(codeOf(refused)).to.equal(code);
        expect(refused.text).to.not.include(user);
      }
      await rig.server.admin.publish("a", "still here");
      for (const client of kept) await client.next(({ data }) => data === "still here");
      const { sessions } = await rig.service.status();
      const { length: open } = users;
      expect(sessions).to.deep.include({ open, opened: open, closed: {}, refused: { [code]: 3 } });
    });
  }

  it("too many streams of one address are refused whatever X-Forwarded-For says, unless the app trusts its proxy", async () => {
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
        const headers = { "X-Forwarded-For": address };
        const client = await openStream(`${behind.url}/stream`, { headers });
        clients.push(client);
        return client.status;
      };
      expect(await come("10.0.0.1")).to.equal(200);
      expect(await come("10.0.0.2")).to.equal(429);
      behind.app.set("trust proxy", true);
      expect(await come("10.0.0.2")).to.equal(200);
      expect(await come("10.0.0.2")).to.equal(429);
    } finally {
      for (const client of clients) client.destroy();
      await own.close();
      await behind.close();
    }
  });

  /** What all namespaces say while a stream comes and goes. */
  async function logOf(path: string, headers: Record<string, string> = {}): Promise<string> {
    const log = captureLog("redis-sse:*");
    try {
      const client = await rig.openLive(path, headers);
      await rig.ask("/stream?token=s3cret", { headers });
      client.destroy();
      await eventually(() => expect(log.lines.join("\n")).to.include("client disconnected"));
    } finally {
      log.restore();
    }
    return log.lines.join("\n");
  }

  it("the log says nothing of a request's query and headers", async () => {
    const headers = { Authorization: "Bearer s3cret", Cookie: "id=s3cret", "Last-Event-ID": "s3cret" };
    expect(await logOf("/stream?channel=a&token=s3cret", headers)).to.not.include("s3cret");
  });

  it("a channel's name forges no line in the log, and moves no cursor", async () => {
    rig.select("a\u009b2Jb\u2028c\u0085d");
    const said = await logOf("/any");
    expect(said).to.include(String.raw`"a\u009b2Jb\u2028c\u0085d"`);
    expect(said).to.not.match(/[\u0080-\u009f\u2028\u2029]/);
  });

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
