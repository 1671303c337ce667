import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import express, { type Express } from "express";

/** An Express app of a test, on a free port unless the test sets one. */
export interface TestApp {
  readonly app: Express;
  readonly server: Server;
  readonly url: string;
  /** Errors that reached the app's error handler. */
  readonly errors: readonly unknown[];
  close(): Promise<void>;
}

export async function startApp(mount: (app: Express) => void, port = 0): Promise<TestApp> {
  const app = express();
  const errors: unknown[] = [];
  app.set("env", "test"); // Express prints errors in its own error handler, except in the environment "test"
  mount(app);
  app.use(((error, _req, res, next) => {
    errors.push(error);
    if (res.headersSent) return next(error);
    res.status(500).json({ handled: true });
  }) satisfies express.ErrorRequestHandler);
  const server = createServer(app).listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    app,
    server,
    errors,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
