import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { sseStream, type SseStreamOptions } from "../../middleware/express.js";
import { openStream, type SseClient } from "./sse-client.js";
import { startApp, type TestApp } from "./test-app.js";

/** The small app of most tests: `GET /stream?channel=...` over a separate service. */
export interface StreamApp {
  readonly service: RedisSse;
  readonly app: TestApp;
  /** Opens a stream, after an event id if given. `more` is added to the query. Resolves with the response headers. */
  readonly open: (
    channels: string | readonly string[],
    lastEventId?: string,
    more?: string,
  ) => Promise<SseClient>;
  /** Same as `open()`, and waits for `connected`. */
  readonly openLive: StreamApp["open"];
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
  const open: StreamApp["open"] = async (channels, lastEventId, more = "") => {
    const query = [channels].flat().map((channel) => `channel=${encodeURIComponent(channel)}`);
    const headers = lastEventId === undefined ? {} : { headers: { "Last-Event-ID": lastEventId } };
    const client = await openStream(`${app.url}/stream?${query.join("&")}${more}`, headers);
    clients.add(client);
    return client;
  };
  return {
    service,
    app,
    open,
    async openLive(...given) {
      const client = await open(...given);
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
