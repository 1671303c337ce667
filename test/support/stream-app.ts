import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { sseStream, type SseStreamOptions } from "../../middleware/express.js";
import { openStream, type SseClient } from "./sse-client.js";
import { startApp, type TestApp } from "./test-app.js";

/** The small app of most tests: `GET /stream?channel=...` over a separate service. */
export interface StreamApp {
  readonly service: RedisSse;
  readonly app: TestApp;
  /** Opens a stream. Resolves with the response headers. */
  readonly open: (channel: string) => Promise<SseClient>;
  /** Opens a stream and waits for `connected`. */
  readonly openLive: (channel: string) => Promise<SseClient>;
  /** Destroys the sockets of all clients. */
  readonly leave: () => void;
  readonly close: () => Promise<void>;
}

export async function startStreamApp(
  options: RedisSseOptions,
  stream: SseStreamOptions = {},
): Promise<StreamApp> {
  const service = createRedisSse(options);
  const app = await startApp((router) => {
    router.get(
      "/stream",
      sseStream((req) => req.query["channel"] as string, { service, ...stream }),
    );
  });
  const clients = new Set<SseClient>();
  const leave = (): void => {
    for (const client of clients) client.destroy();
    clients.clear();
  };
  const open = async (channel: string): Promise<SseClient> => {
    const client = await openStream(`${app.url}/stream?channel=${encodeURIComponent(channel)}`);
    clients.add(client);
    return client;
  };
  return {
    service,
    app,
    open,
    async openLive(channel) {
      const client = await open(channel);
      await client.next(({ event }) => event === "connected");
      return client;
    },
    leave,
    async close() {
      leave();
      await service.close();
      await app.close();
    },
  };
}
