import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { expectRefusal } from "../support/refusal.js";
import { describeRequests } from "../support/request-rig.js";
import { captureLog } from "../support/service.js";
import { codeOf, isGap, typesOf } from "../support/fault-steps.js";

describeRequests("sseStream() with bad requests", (rig) => {
  for (const [what, status, code, ...values] of [
    ["an invalid name", 400, "INVALID_CHANNEL", "secret\r\nb", "secret\0b", "secret\ud800", "", ["a", ""]],
    [
      "another type",
      400,
      "INVALID_CHANNEL",
      4711,
      { secret: 1 },
      true,
      [["secret", "admin"]],
      ["a", undefined],
    ],
    ["a name that is too long", 400, "INVALID_CHANNEL", `${"é".repeat(256)}x`],
    ["nothing", 403, "FORBIDDEN", null, undefined, false, []],
    ["a name of Redis", 403, "FORBIDDEN", "__keyevent@0__:expired", ["a", "__keyspace@0__:secret"]],
    ["a name of this library", 403, "FORBIDDEN", "sse:", "sse:secret", ["a", "sse:secret"]],
  ] as const) {
    it(`answers ${status} ${code} if the resolver returns ${what}, and does not echo it`, async () => {
      for (const value of values) {
        rig.select(value);
        await expectRefusal(await rig.ask("/any"), status, code, value === 4711 ? "4711" : "secret");
      }
      await rig.expectNothingOpened();
    });
  }

  it("answers 400 LIMIT_CHANNELS for too many channels, and counts a repeated channel once", async () => {
    const four = await rig.ask("/stream?channel=a&channel=b&channel=c&channel=d");
    await expectRefusal(four, 400, "LIMIT_CHANNELS");
    await rig.expectNothingOpened();
    await rig.openLive("/stream?channel=a&channel=b&channel=a&channel=b&channel=c");
    expect((await rig.server.activeChannels()).toSorted()).to.deep.equal(["a", "b", "c"]);
  });

  it("subscribes to names such as * as plain channel names, not as patterns", async () => {
    for (const name of ["*", "a?c", "h[ae]llo"]) {
      const client = await rig.openLive(`/stream?channel=${encodeURIComponent(name)}`);
      for (const other of ["abc", "hello"]) await rig.server.admin.publish(other, "other");
      await rig.server.admin.publish(name, "own");
      await client.next(({ data }) => data === "own");
      expect(client.events).to.have.length(2);
    }
    expect(await rig.server.admin.pubsub("NUMPAT")).to.equal(0);
  });

  it("receives events of channels such as __proto__, also after a lost connection", async () => {
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

  it("passes a 400 error to the app if the path has invalid percent-encoding, and does not call the resolver", async () => {
    for (const path of ["/path/%", "/path/%ff"]) await rig.ask(path);
    expect(rig.app.errors.map((error) => (error as { status: number }).status)).to.deep.equal([400, 400]);
    await rig.expectNothingOpened();
  });

  it("decodes a path before it checks the channel name", async () => {
    await expectRefusal(await rig.ask("/path/a%0d%0asecret"), 400, "INVALID_CHANNEL", "secret");
    await expectRefusal(await rig.ask("/path/sse%3asecret"), 403, "FORBIDDEN", "secret");
    await rig.expectNothingOpened();
  });

  it("answers too many streams of all keys with a retryable error, and keeps the open streams", async () => {
    const users = ["ann", "ann", "bob", "bob"];
    const kept = await Promise.all(users.map((each) => rig.openLive(`/stream?channel=a&user=${each}`)));
    for (let round = 0; round < 3; round++) {
      const refused = await rig.open("/stream?channel=a&user=cid");
      await refused.ended;
      expect(refused.status).to.equal(200);
      expect(refused.retryMs).to.be.within(2_000, 4_000);
      expect(typesOf(refused)).to.deep.equal(["error"]);
      expect(codeOf(refused)).to.equal("LIMIT_SESSIONS");
      expect(refused.text).to.not.include("cid");
    }
    await rig.server.admin.publish("a", "still here");
    for (const client of kept) await client.next(({ data }) => data === "still here");
    const { sessions } = await rig.service.status();
    expect(sessions).to.deep.include({ open: 4, opened: 4, closed: {}, refused: { LIMIT_SESSIONS: 3 } });
  });

  /** The debug output of all namespaces while a stream opens and ends. */
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

  it("writes no query and no headers of a request to the debug output", async () => {
    const headers = { Authorization: "Bearer s3cret", Cookie: "id=s3cret", "Last-Event-ID": "s3cret" };
    expect(await logOf("/stream?channel=a&token=s3cret", headers)).to.not.include("s3cret");
  });

  it("escapes control characters and line separators of a channel name in the debug output", async () => {
    rig.select("a\u009b2Jb\u2028c\u0085d");
    const said = await logOf("/any");
    expect(said).to.include(String.raw`"a\u009b2Jb\u2028c\u0085d"`);
    expect(said).to.not.match(/[\u0080-\u009f\u2028\u2029]/);
  });
});
