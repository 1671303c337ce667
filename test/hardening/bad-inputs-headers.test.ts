import { expect } from "chai";

import { getRequest, openWire } from "../support/wire-client.js";
import { expectRefusal } from "../support/refusal.js";
import { describeRequests } from "../support/request-rig.js";

describeRequests("bad methods and headers of a request for a stream", (rig) => {
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    it(`${method} is 405, with the methods that are allowed`, async () => {
      const response = await rig.ask("/mounted", { method });
      expect(response.headers.get("allow")).to.equal("GET, HEAD");
      expect(response.headers.get("access-control-allow-origin")).to.equal(null);
      await expectRefusal(response, 405, "METHOD_NOT_ALLOWED");
      await rig.expectNothingOpened();
    });
  }

  it("HEAD has the head of the stream or of its refusal, no body, and opens nothing", async () => {
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

  for (const accept of [
    "text/html",
    "application/json",
    "text/event-stream;q=0",
    "text/html, image/*;q=0.5",
  ]) {
    it(`Accept: ${accept} is 406 NOT_ACCEPTABLE`, async () => {
      await expectRefusal(await rig.ask("/mounted", { headers: { accept } }), 406, "NOT_ACCEPTABLE");
      await rig.expectNothingOpened();
    });
  }

  for (const accept of ["text/event-stream", "*/*", "text/*", "text/html, */*;q=0.1"]) {
    it(`Accept: ${accept} is a stream`, async () => {
      expect((await rig.openLive("/mounted", { Accept: accept })).status).to.equal(200);
    });
  }

  it("no Accept at all is a stream", async () => {
    const client = await openWire(rig.app.url, "GET /mounted HTTP/1.1\r\nHost: localhost\r\n\r\n");
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
      const client = await rig.openLive("/mounted", { "Last-Event-ID": value });
      const { sessionId } = JSON.parse(client.events[0]!.data) as { sessionId: string };
      expect(client.status).to.equal(200);
      const said = client.text.replace(sessionId, "") + JSON.stringify(client.headers["set-cookie"] ?? "");
      expect(said).to.not.include(value);
      expect(client.events[0]!.id || undefined).to.equal(undefined);
    });
  }

  it("a Last-Event-ID of 20 KB is 431", async () => {
    const client = await openWire(
      rig.app.url,
      getRequest("/mounted").replace("\r\n\r\n", `\r\nLast-Event-ID: ${"x".repeat(20_000)}\r\n\r\n`),
    );
    await client.closed;
    expect(client.statuses).to.deep.equal([431]);
    await rig.expectNothingOpened();
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
      const client = await openWire(rig.app.url, text);
      await client.closed;
      expect(client.statuses).to.deep.equal([400]);
      await rig.expectNothingOpened();
    });
  }
});
