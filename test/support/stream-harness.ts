import type express from "express";
import type { Redis } from "ioredis";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { sseStream, type SseStreamOptions } from "../../middleware/express.js";
import type { SuiteRedis } from "../conformance/stream-suite.js";
import { openStream, type ReceivedEvent, type SseClient } from "./sse-client.js";
import { startApp, type TestApp } from "./test-app.js";

export type Subscriptions = "shared" | "dedicated";

/** Streams as clients see them, on the Redis of the suite. Everything created here is closed after the test. */
export interface StreamHarness {
  /** A Redis client of another program. */
  readonly raw: Redis;
  create(options?: RedisSseOptions): RedisSse;
  /** An app with `GET /stream?channel=...` over a service. */
  mount(service: RedisSse, options?: SseStreamOptions): Promise<TestApp>;
  /** Opens a stream. `lastEventId` is sent in the header. */
  open(app: TestApp, channels: string | readonly string[], lastEventId?: string): Promise<SseClient>;
  /** Same as `open()`, and waits for `connected`. */
  openLive(app: TestApp, channels: string | readonly string[], lastEventId?: string): Promise<SseClient>;
  openUrl(url: string, headers?: Record<string, string>): Promise<SseClient>;
}

/** Sets the hooks of a suite. Call it inside `describe`. */
export function useStreams(
  subscriptions: Subscriptions,
  startRedis: (context: Mocha.Context) => Promise<SuiteRedis>,
): StreamHarness {
  let redis: SuiteRedis;
  const clients: SseClient[] = [];
  const apps: TestApp[] = [];
  const services: RedisSse[] = [];

  before(async function () {
    redis = await startRedis(this);
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await Promise.all(services.splice(0).map((service) => service.close()));
    await Promise.all(apps.splice(0).map((app) => app.close()));
  });

  after(() => redis?.stop());

  const harness: StreamHarness = {
    get raw() {
      return redis.client;
    },
    create(options = {}) {
      const service = createRedisSse({ redis: redis.source, subscriptions, ...options });
      services.push(service);
      return service;
    },
    async mount(service, options = {}) {
      const app = await startApp((router: express.Express) => {
        router.get(
          "/stream",
          sseStream((req) => req.query["channel"] as string, { service, ...options }),
        );
      });
      apps.push(app);
      return app;
    },
    async openUrl(url, headers) {
      const client = await openStream(url, headers && { headers });
      clients.push(client);
      return client;
    },
    open(app, channels, lastEventId) {
      const query = [channels].flat().map((channel) => `channel=${encodeURIComponent(channel)}`);
      const headers = lastEventId === undefined ? undefined : { "Last-Event-ID": lastEventId };
      return harness.openUrl(`${app.url}/stream?${query.join("&")}`, headers);
    },
    async openLive(app, channels, lastEventId) {
      const client = await harness.open(app, channels, lastEventId);
      await client.next(isEvent("connected"));
      return client;
    },
  };
  return harness;
}

export const isEvent =
  (name: string) =>
  ({ event }: ReceivedEvent): boolean =>
    event === name;

/** Data of the application's events. */
export function dataOf(client: SseClient): readonly string[] {
  const control = new Set(["connected", "gap", "closing", "error"]);
  return client.events.filter(({ event }) => !control.has(event)).map(({ data }) => data);
}

/** The id that a browser would send as `Last-Event-ID`. */
export function lastIdOf(client: SseClient): string {
  return client.lastEventId ?? "";
}

export function connectedOf(client: SseClient): { channels: string[]; recovered: boolean } {
  return JSON.parse(client.events.find(isEvent("connected"))!.data) as {
    channels: string[];
    recovered: boolean;
  };
}

export function gapsOf(client: SseClient): readonly { channels: string[]; reason: string }[] {
  return client.events
    .filter(isEvent("gap"))
    .map(({ data }) => JSON.parse(data) as { channels: string[]; reason: string });
}
