/** A program in TypeScript that uses each entry. */
export const CONSUMER: string = `
import express from "express";
import { createRedisSse, PoolExhaustedError, type RedisSse, type StatusReport } from "redis-sse";
import { bearerAuth, redisPoolStatus, sseStream, taskCancel, taskStream, type ChannelResolver, type SseStreamOptions } from "redis-sse/express";

import { assertStreamOptions, serveStream, type Sink } from "redis-sse/adapter";
import { connect, defineEvents, type EventDefinitions, type EventSchemas, type StreamConnection } from "redis-sse/client";
import { useStream, useTask, useTextStream, type StreamResult, type TaskResult, type TextStreamResult } from "redis-sse/react";
import { collect, createTestSse, FakeClock, type CollectedStream, type TestSse } from "redis-sse/testing";

const sse: RedisSse = createRedisSse({ subscriptions: "dedicated", pool: { maxConnections: 3 } });
const resolver: ChannelResolver = async (req) => [\`user:\${String(req.query["user"])}\`];
const app = express();
app.get("/events", sseStream(resolver, { service: sse, onOpen: (session) => session.send({ data: { hi: 1 } }) }));
app.get("/pool", redisPoolStatus({ service: sse, authorize: bearerAuth("t") }));
app.get("/x/:id", sseStream((req) => ["x", req.params.id.toUpperCase()], { service: sse }));
app.get("/y/:id", taskStream((req) => req.params.id, { service: sse }));
app.post("/y/:id/cancel", taskCancel((req) => req.params.id, { service: sse, queue: "reports" }));
app.get("/z/*splat", sseStream<{ splat: string[] }>((req) => req.params.splat, { filter: (_, req) => req.params.splat.length > 0 }));
export const wide: SseStreamOptions = { heartbeatMs: undefined, filter: undefined };
createRedisSse({ keyPrefix: undefined, limits: { maxSessions: undefined }, pool: undefined });
// @ts-expect-error the declared params differ from those in the path
sseStream<{ room: string }>((req) => req.params.id);
// @ts-expect-error a number is not a valid selection
sseStream(() => 7);
// @ts-expect-error an unknown mode
createRedisSse({ subscriptions: "both" });
export const report: Promise<StatusReport> = sse.status();
declare const sink: Sink;
assertStreamOptions({ heartbeatMs: 1_000 });
export const served: Promise<void> = serveStream(sse, { method: "GET" }, sink, ["x"], (session) => session.send({ data: 1 }));
// @ts-expect-error only the type of this class is public
export const worker: unknown = (await import("redis-sse")).Worker;
export const test: TestSse = createTestSse({ clock: new FakeClock(), subscriptions: "dedicated" });
export const other: RedisSse = createTestSse({ redis: test.redis });
export const stream: CollectedStream = await collect(new Response("data: 1\\n\\n"));
export const { hello } = (await stream.event<{ hello: string }>("greeting")).data;
for await (const { event, text } of stream) test.redis.refuse("NOPERM", { channel: event + text });
// @ts-expect-error a test service accepts no Redis URL
createTestSse({ redis: "redis://127.0.0.1" });
export const open = (): StreamConnection => connect("/events", { token: () => "t" });
// @ts-expect-error an unknown event
connect("/events", { events: defineEvents({}) }).on("order", () => {});
const ticketUrl = async ({ isRefused }: { isRefused: boolean }): Promise<URL> => new URL("http://localhost/?" + String(isRefused));
export const useNews = (): StreamResult => useStream<{ news: string }>(ticketUrl, { on: { news: (text) => void text.length } });
export const useReport = (id: string | null): TaskResult => useTask(id === null ? null : () => "/tasks/" + id, { cancelUrl: undefined });
export const useAnswer = (): TextStreamResult => useTextStream(new URL("http://localhost/answer"), { token: () => "t" });
// @ts-expect-error a number is not a URL
useTextStream(7);
declare const shopEvents: EventDefinitions<{ readonly sale: EventSchemas[string] }>;
export const useSales = (): StreamResult => useStream("/events", { events: shopEvents, on: { sale() {} } });
// @ts-expect-error an unknown event
useStream("/events", { events: shopEvents, on: { order() {} } });
// @ts-expect-error the data of this event has another type
useStream<{ news: string }>("/events", { on: { news: (data: number) => void data } });
export const isExhausted = (error: unknown): boolean => error instanceof PoolExhaustedError;
`;
