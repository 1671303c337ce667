import { expect } from "chai";

import { getRequest, openWire } from "../support/wire-client.js";
import { expectRefusal } from "../support/refusal.js";
import { describeRequests } from "../support/request-rig.js";

describeRequests("sseStream() with unusual request headers", (rig) => {
  it("answers HEAD with the headers of the stream or of the error, and opens no stream", async () => {
    const head = await rig.ask("/mounted", { method: "HEAD" });
    expect(head.status).to.equal(200);
    expect(head.headers.get("content-type")).to.equal("text/event-stream; charset=utf-8");
    expect(head.headers.get("cache-control")).to.equal("no-cache, no-transform");
    for (const [value, status] of [
      [null, 403],
      ["a\n", 400],
    ] as const) {
      rig.select(value);
      const refused = await rig.ask("/any", { method: "HEAD" });
      expect(refused.status).to.equal(status);
      expect(refused.headers.get("cache-control")).to.equal("no-store");
      expect(await refused.text()).to.equal("");
    }
    await rig.expectNothingOpened();
  });

  it("answers 406 NOT_ACCEPTABLE if Accept excludes text/event-stream", async () => {
    const without = ["text/html", "application/json", "text/event-stream;q=0", "text/html, image/*;q=0.5"];
    for (const accept of without)
      await expectRefusal(await rig.ask("/mounted", { headers: { accept } }), 406, "NOT_ACCEPTABLE");
    await rig.expectNothingOpened();
  });

  it("opens a stream if Accept includes text/event-stream or is missing", async () => {
    for (const accept of ["*/*", "text/*", "text/html, */*;q=0.1"])
      expect((await rig.openLive("/mounted", { Accept: accept })).status, accept).to.equal(200);
    const client = await openWire(rig.app.url, "GET /mounted HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await client.until("event: connected");
    expect(client.statuses).to.deep.equal([200]);
    client.socket.destroy();
  });

  for (const [what, value] of [
    ["-1", "-1"],
    ["an emoji", Buffer.from("🎉").toString("latin1")],
    ["HTML", "<script>alert(1)</script>"],
    ["15 KB long", "x".repeat(15_000)],
    ["joined from two headers", "17, 18"],
  ] as const) {
    it(`opens a stream if Last-Event-ID is ${what}, and does not echo the value`, async () => {
      const client = await rig.openLive("/mounted", { "Last-Event-ID": value });
      const { sessionId } = JSON.parse(client.events[0]!.data) as { sessionId: string };
      expect(client.status).to.equal(200);
      const said = client.text.replace(sessionId, "") + JSON.stringify(client.headers["set-cookie"] ?? "");
      expect(said).to.not.include(value);
      expect(client.events[0]!.id || undefined).to.equal(undefined);
    });
  }

  it("opens no stream for a request that Node.js rejects", async () => {
    for (const [status, text] of [
      [431, getRequest("/mounted").replace("\r\n\r\n", `\r\nLast-Event-ID: ${"x".repeat(20_000)}\r\n\r\n`)],
      [400, "POST /mounted HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"],
      [400, "GET /mounted HTTP/1.1\r\nHost: a\r\nLast-Event-ID: a\0b\r\n\r\n"],
    ] as const) {
      const client = await openWire(rig.app.url, text);
      await client.closed;
      expect(client.statuses).to.deep.equal([status]);
    }
    await rig.expectNothingOpened();
  });
});
