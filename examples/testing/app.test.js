import assert from "node:assert/strict";
import { once } from "node:events";

import { collect, createTestSse, FakeClock } from "redis-sse/testing";

import { createApp } from "./app.js";

describe("the app", () => {
  let clock, sse, server, url;

  const post = (path, body = {}) =>
    fetch(`${url}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-User": "bob" },
      body: JSON.stringify(body),
    });

  beforeEach(async () => {
    clock = new FakeClock();
    sse = createTestSse({ clock });
    server = createApp(sse).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${server.address().port}`;
  });

  afterEach(async () => {
    await sse.close();
    server.close();
    server.closeAllConnections();
  });

  it("sends an article and a notification to a user", async () => {
    const stream = await collect(`${url}/events`, { headers: { "X-User": "ann" } });
    await stream.event("connected");
    await post("/news", { title: "Hello" });
    await post("/friends/ann");
    assert.deepEqual((await stream.event("article")).data, { title: "Hello" });
    assert.equal((await stream.event("message")).data.title, "bob is your friend now");
    await stream.close();
  });

  it("refuses a stream without a user", async () => {
    assert.equal((await collect(`${url}/events`)).status, 403);
  });

  it("shows the progress of a report, and retries it after a minute", async () => {
    const { id } = await (await post("/reports")).json();
    const stream = await collect(`${url}/reports/${id}/events`);
    await stream.event("connected");
    await clock.advance(90_000);
    const states = (await stream.ended()).map(({ data }) => data);
    assert.equal(states.at(-1).status, "succeeded");
    assert.ok(states.some(({ message }) => message === "half-way"));
  });

  it("keeps streams open while Redis is unavailable", async () => {
    const stream = await collect(`${url}/events`, { headers: { "X-User": "ann" } });
    await stream.event("connected");
    sse.redis.stop();
    assert.equal((await post("/news", { title: "lost" })).status, 503);
    sse.redis.start();
    assert.equal((await post("/news", { title: "back" })).status, 204);
    assert.deepEqual((await stream.next()).data, { title: "back" });
    await stream.close();
  });
});
