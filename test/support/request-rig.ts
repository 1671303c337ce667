import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { describeFaults } from "./fault-rig.js";
import type { RedisServer } from "./redis-server.js";
import { openStream, type SseClient } from "./sse-client.js";
import { startApp, type TestApp } from "./test-app.js";

/** Tools for tests of invalid requests. All streams are closed after the test. */
export interface RequestRig {
  readonly server: RedisServer;
  /** An app with limits of 3 channels per stream, 2 streams per user and 4 streams in total. */
  readonly service: RedisSse;
  /**
   * `/any` returns the chosen channels. `/stream` and `/path/:channel` return the requested ones. `/mounted` handles
   * all methods.
   */
  readonly app: TestApp;
  /** Result of the resolver of `/any`. */
  select(selection: unknown): void;
  /** One complete answer. */
  ask(path: string, init?: { method?: string; headers?: Record<string, string> }): Promise<Response>;
  open(path: string, headers?: Record<string, string>): Promise<SseClient>;
  /** Opens a stream and waits for `connected`. */
  openLive(path: string, headers?: Record<string, string>): Promise<SseClient>;
  /** Expects that no session was created and that Redis got no subscription. */
  expectNothingOpened(): Promise<void>;
}

/** A suite of invalid requests to one app. */
export function describeRequests(title: string, define: (rig: RequestRig) => void): void {
  describeFaults(title, (faults) => {
    let service: RedisSse;
    let app: TestApp;
    let selected: unknown;

    beforeEach(async () => {
      service = faults.connect({
        limits: { maxChannelsPerSession: 3, maxSessionsPerKey: 2, maxSessions: 4 },
      });
      app = await startApp((router) => {
        router.get(
          "/any",
          sseStream(() => selected as string, { service }),
        );
        router.get(
          ["/stream", "/path/:channel"],
          sseStream((req) => (req.params["channel"] ?? req.query["channel"]) as string, {
            service,
            key: (req) => req.query["user"] as string | undefined,
          }),
        );
        router.use(
          "/mounted",
          sseStream(() => "a", { service }),
        );
      });
      faults.undo(() => app.close());
    });

    async function open(path: string, headers?: Record<string, string>): Promise<SseClient> {
      const client = await openStream(app.url + path, headers && { headers });
      faults.undo(() => client.destroy());
      return client;
    }

    define({
      get server() {
        return faults.server;
      },
      get service() {
        return service;
      },
      get app() {
        return app;
      },
      select(selection) {
        selected = selection;
      },
      ask(path, { method = "GET", headers = {} } = {}) {
        return fetch(app.url + path, { method, headers: { accept: "text/event-stream", ...headers } });
      },
      open,
      async openLive(path, headers) {
        const client = await open(path, headers);
        await client.next(({ event }) => event === "connected");
        return client;
      },
      async expectNothingOpened() {
        const { sessions, channels } = await service.status();
        expect(sessions).to.deep.include({ open: 0, opened: 0 });
        expect(channels).to.deep.equal([]);
        expect(await faults.server.callsOf("subscribe")).to.equal(0);
      },
    });
  });
}
