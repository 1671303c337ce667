import { expect } from "chai";
import { z } from "zod";

import { connect, defineEvents, type Gap, type Status, type StreamConnection } from "../../client/index.js";
import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream, taskStream, ticketResolver } from "../../middleware/express.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { startApp, type TestApp } from "../support/test-app.js";

const events = defineEvents({ order: z.object({ id: z.number() }) });

/** The token that the server accepts. */
const FRESH = "fresh";

describe("redis-sse/client with a real server", () => {
  let redis: RedisServer;
  let sse: RedisSse;
  let app: TestApp;
  let streams: StreamConnection[];

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
  });

  beforeEach(async () => {
    streams = [];
    sse = createRedisSse({ redis: redis.url, retryMs: 100 });
    app = await startApp((router) => {
      router.get("/orders/events", (req, res, next) => {
        const token = req.get("Authorization");
        if (token !== `Bearer ${FRESH}`) return void res.sendStatus(401);
        next();
      });
      router.get("/tickets/events", sseStream(ticketResolver({ service: sse }), { service: sse }));
      router.get(
        "/:channel/events",
        sseStream((req) => req.params["channel"], { service: sse, from: "earliest" }),
      );
      router.get(
        "/tasks/:id/events",
        taskStream((req) => req.params["id"], { service: sse }),
      );
    });
  });

  afterEach(async () => {
    for (const stream of streams) stream.close();
    await sse.close();
    await app.close();
    await redis.admin.flushall();
  });

  after(() => redis?.stop());

  /** Records each status of a stream, from its first on. */
  function statusesOf(stream: StreamConnection): readonly Status[] {
    streams.push(stream);
    const statuses = [stream.status];
    stream.onStatus((status) => statuses.push(status));
    return statuses;
  }

  const open: Status = { state: "open" };
  const connecting: Status = { state: "connecting" };
  const closed = (reason: string): Status => ({ state: "closed", reason });

  it("gets the published events of a definition that it shares with the server", async () => {
    const stream = connect(`${app.url}/orders/events`, { events, token: () => FRESH });
    const statuses = statusesOf(stream);
    const ids: number[] = [];
    const gaps: Gap[] = [];
    stream.on("order", ({ id }) => ids.push(id));
    stream.onGap((gap) => gaps.push(gap));
    await sse.publish("orders", events.message("order", { id: 1 }));
    await sse.publish("orders", { event: "order", data: { id: "two" } });
    await sse.publish("orders", events.message("order", { id: 3 }));
    await eventually(() => expect(ids).to.deep.equal([1, 3]));
    expect(gaps).to.deep.equal([{ reason: "invalid", channels: [] }]);
    expect(statuses).to.deep.equal([connecting, open]);
  });

  it("asks for a new token at once if the server answers 401", async () => {
    const asked: boolean[] = [];
    const token = ({ isRefused }: { readonly isRefused: boolean }): string => {
      asked.push(isRefused);
      return isRefused ? FRESH : "expired";
    };
    const statuses = statusesOf(connect(`${app.url}/orders/events`, { token }));
    await eventually(() => expect(statuses).to.deep.equal([connecting, open]));
    expect(asked).to.deep.equal([false, true]);
  });

  it("gets a stream that ends as an iterator, with the exact text, and is answered 204 when it comes later", async () => {
    const tokens = ["1.0", " ", "null", "\n", "end"];
    const writer = await sse.writer("answer");
    const stream = connect(`${app.url}/answer/events`);
    const statuses = statusesOf(stream);
    const reading = (async () => {
      let all = "";
      for await (const { text } of stream) all += text;
      return all;
    })();
    await eventually(() => expect(stream.status).to.deep.equal(open));
    for (const token of tokens) await writer.write(token);
    await writer.end();
    expect(await reading).to.equal(tokens.join(""));
    expect(statuses).to.deep.equal([connecting, open, closed("completed")]);
    const late = statusesOf(connect(`${app.url}/answer/events`, { lastEventId: stream.lastEventId }));
    await eventually(() => expect(late).to.deep.equal([connecting, closed("completed")]));
  });

  it("gets a new ticket for each connection, and resumes with it", async () => {
    let issued = 0;
    const stream = connect(async () => {
      issued += 1;
      return `${app.url}/tickets/events?ticket=${await sse.tickets.issue({ channels: "news" })}`;
    });
    const statuses = statusesOf(stream);
    const heard: unknown[] = [];
    const gaps: Gap[] = [];
    stream.on("message", (data) => heard.push(data));
    stream.onGap((gap) => gaps.push(gap));
    await eventually(() => expect(stream.status).to.deep.equal(open));
    await sse.publish("news", { data: 1 });
    await eventually(() => expect(heard).to.deep.equal([1]));
    app.server.closeAllConnections();
    await sse.publish("news", { data: 2 });
    await eventually(() => expect(heard).to.deep.equal([1, 2]));
    expect(gaps).to.deep.equal([]);
    expect(statuses.map(({ state }) => state)).to.deep.equal([
      "connecting",
      "open",
      "waiting",
      "connecting",
      "open",
    ]);
    expect(issued).to.equal(2);
  });

  it("follows a task to its end", async () => {
    const queue = sse.queue("reports");
    const { id } = await queue.enqueue("report", {});
    const stream = connect<{ message: { status: string; progress: number } }>(
      `${app.url}/tasks/${id}/events`,
    );
    const statuses = statusesOf(stream);
    const heard: string[] = [];
    stream.on("message", ({ status, progress }) => heard.push(`${status} ${progress}`));
    await eventually(() => expect(heard).to.deep.equal(["queued 0"]));
    queue.worker(async ({ progress }) => progress(50));
    await eventually(() => expect(statuses).to.deep.equal([connecting, open, closed("completed")]));
    expect(heard.at(-1)).to.equal("succeeded 100");
    expect(heard).to.include("running 50");
  });
});

/** Never called: the compiler checks it. */
export function checkTypes(sse: RedisSse, untyped: StreamConnection): void {
  const stream = connect("/events", { events });
  stream.on("order", ({ id }) => id.toFixed());
  stream.on("closing", ({ reason }) => reason.toUpperCase());
  // @ts-expect-error the id is a number
  stream.on("order", ({ id }) => id.toUpperCase());
  // @ts-expect-error an unknown event
  stream.on("oder", () => {});
  // @ts-expect-error the id is missing
  void sse.publish("orders", events.message("order", {}));
  // @ts-expect-error an unknown event
  events.message("oder", { id: 1 });
  untyped.on("anything", (data: unknown) => data);
  connect<{ order: { id: number } }>("/events").on("order", ({ id }) => id.toFixed());
  connect(() => "/events", { token: async () => "t" });
}
