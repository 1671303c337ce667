import { expect } from "chai";
import * as fc from "fast-check";

import type { TicketOptions } from "../../../lib/index.js";
import { sseStream, ticketResolver } from "../../../middleware/express.js";
import { createTestSse, type TestSse } from "../../../testing/index.js";
import { eventually } from "../../support/eventually.js";
import { recordingLogger } from "../../support/recording-logger.js";
import { captureLog, expectFault } from "../../support/service.js";
import { openStream, type SseClient } from "../../support/sse-client.js";
import { startApp, type TestApp } from "../../support/test-app.js";

describe("ticketResolver()", () => {
  let sse: TestSse;
  let app: TestApp;
  let lines: readonly string[];
  const clients: SseClient[] = [];

  beforeEach(async () => {
    const recorder = recordingLogger();
    lines = recorder.lines;
    sse = createTestSse({ logger: recorder.logger });
    app = await startApp((router) => {
      const resolver = ticketResolver({ service: sse });
      router.use("/events", sseStream(resolver, { service: sse, retryMs: 1, key: () => "of the mount" }));
    });
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await sse.close();
    await app.close();
  });

  const issue = (options: Partial<TicketOptions> = {}): Promise<string> =>
    sse.tickets.issue({ channels: "a", ...options });

  async function open(query: string, lastEventId?: string): Promise<SseClient> {
    const headers = lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId };
    const client = await openStream(`${app.url}/events${query}`, { headers });
    clients.push(client);
    if (client.status === 200) await client.next(() => true);
    else await client.ended;
    return client;
  }

  async function expectInvalid(query: string, lastEventId?: string): Promise<void> {
    const { status, text } = await open(query, lastEventId);
    expect(status, query).to.equal(401);
    expect(text, query).to.include('"TICKET_INVALID"');
  }

  it("opens a stream with the channels of the ticket, also if the client names others", async () => {
    const { events } = await open(`?channel=b&ticket=${await issue()}&channels=c`);
    expect(events[0]!.data).to.include('"channels":["a"]');
  });

  it("answers 401 without a call of Redis if the ticket is missing, malformed or repeated", async () => {
    const ticket = await issue();
    sse.redis.stop();
    const queries = [
      "",
      "?",
      "?ticket",
      "?ticket=",
      "?ticket=%00",
      `?Ticket=${ticket}`,
      `?ticket[]=${ticket}`,
    ];
    const repeated = `?ticket=${ticket}&ticket=${ticket}`;
    for (const query of [
      ...queries,
      repeated,
      `?ticket=${ticket}a`,
      `?x=ticket=${ticket}`,
      `#?ticket=${ticket}`,
    ])
      await expectInvalid(query);
    expect(app.errors).to.deep.equal([]);
  });

  it("answers 401 to an unknown and to a used ticket, and counts the refusals", async () => {
    const ticket = await issue();
    await open(`?ticket=${ticket}`);
    await expectInvalid(`?ticket=${ticket}`);
    await expectInvalid(`?ticket=${"x".repeat(43)}`);
    expect((await sse.status()).sessions.refused).to.deep.equal({ TICKET_INVALID: 2 });
  });

  it("accepts the token from the header, and not from the URL, which a log can have", async () => {
    const ticket = await issue();
    const { lastEventId } = await open(`?ticket=${ticket}`);
    await expectInvalid(`?ticket=${ticket}&lastEventId=${encodeURIComponent(lastEventId!)}`);
    await open(`?ticket=${ticket}&lastEventId=x`, lastEventId);
  });

  it("does not use the ticket of a HEAD request", async () => {
    const ticket = await issue();
    const head = async (): Promise<number> =>
      (await fetch(`${app.url}/events?ticket=${ticket}`, { method: "HEAD" })).status;
    expect(await head()).to.equal(200);
    await open(`?ticket=${ticket}`);
    expect(await head()).to.equal(401);
  });

  it("sends a retryable error while Redis is unavailable, after which the ticket is valid", async () => {
    const ticket = await issue();
    sse.redis.stop();
    const refused = await open(`?ticket=${ticket}`);
    expect(refused.status).to.equal(200);
    expect(refused.events[0]).to.deep.include({ event: "error" });
    expect(refused.text).to.include("REDIS_UNAVAILABLE");
    sse.redis.start();
    const opened = await open(`?ticket=${ticket}`);
    expect(opened.events[0]).to.deep.include({ event: "connected" });
  });

  it("answers 401 if the right of the ticket has ended", async () => {
    const ticket = await issue({ expiresAt: Date.now() + 50 });
    await eventually(async () => {
      const { status } = await fetch(`${app.url}/events?ticket=${ticket}`, { method: "HEAD" });
      expect(status).to.equal(401);
    });
  });

  it("continues without loss with a new ticket and the places of the last stream", async () => {
    const first = await open(`?ticket=${await issue()}`);
    await sse.publish("a", { data: "1" });
    await first.next(({ data }) => data === "1");
    first.destroy();
    await sse.publish("a", { data: "2" });
    const places = first.lastEventId!.replace(/~.*/, "~");
    const second = await open(`?ticket=${await issue()}&lastEventId=${places}`);
    await second.next(({ data }) => data === "2");
    expect(second.events.map(({ event }) => event)).to.deep.equal(["connected", "message"]);
    const fresh = await open(`?ticket=${await issue()}&lastEventId=0~`);
    expect(fresh.events.map(({ event }) => event)).to.deep.equal(["connected"]);
  });

  it("writes no ticket and no token to logs, errors and the status", async () => {
    const log = captureLog("redis-sse:*");
    try {
      const ticket = await issue({ key: "ann" });
      const client = await open(`?ticket=${ticket}`);
      const token = client.lastEventId!.split("~")[1]!;
      const again = await open(`?ticket=${ticket}`, client.lastEventId);
      const refused = await open(`?ticket=${ticket}`, `0~${token}x`);
      sse.redis.refuse("NOPERM", { channel: "a" });
      const faulty = await open(`?ticket=${ticket}`, client.lastEventId);
      await sse.publish("a", { data: "x" }).catch(() => {});
      const status = JSON.stringify(await sse.status());
      again.destroy();
      await eventually(async () => expect((await sse.status()).sessions.open).to.equal(0));
      await sse.close();
      const texts = [...lines, ...log.lines, status, refused.text, faulty.text, String(app.errors)].join(
        "\n",
      );
      expect(log.lines.join("\n")).to.include("user=ann");
      expect(texts).not.to.include(ticket).and.not.to.include(token);
    } finally {
      log.restore();
    }
  });

  it("answers no request with a 500, and opens no stream without a valid ticket", async () => {
    const ticket = await issue();
    const { lastEventId } = await open(`?ticket=${ticket}`);
    const part = fc.oneof(
      fc.constantFrom("ticket", "ticket[]", "lastEventId", ticket, lastEventId!, "=", "&", "%", "?", "~"),
      fc.string({ unit: "grapheme-ascii", maxLength: 5 }).map(encodeURIComponent),
    );
    const query = fc.array(part, { maxLength: 8 }).map((parts) => `?${parts.join("")}`);
    const id = fc.constantFrom(undefined, "0~", `0~${"x".repeat(43)}`, "completed~", "earliest");
    await fc.assert(
      fc.asyncProperty(query, id, (given, header) => expectInvalid(given, header)),
      { numRuns: 200 },
    );
    expect(app.errors).to.deep.equal([]);
  });

  it("throws a ConfigError for an invalid option", () => {
    const options = [
      { service: undefined },
      { service: {} },
      { reconnectMs: 999 },
      { reconnectMs: 86_400_001 },
    ];
    for (const each of [...options, { reconnectMS: 5 }, null]) {
      let error: unknown = null;
      try {
        ticketResolver(each as never);
      } catch (thrown) {
        error = thrown;
      }
      expectFault(error, "CONFIG", JSON.stringify(each));
    }
  });
});
