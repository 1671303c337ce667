import type { AddressInfo } from "node:net";

import express from "express";

import { createRedisSse } from "../../lib/index.js";
import { sseStream, ticketResolver } from "../../middleware/express.js";

/** An app in a separate process that the test kills. Argument: the URL of Redis. Reports its port over IPC. */

const service = createRedisSse({ redis: process.argv[2]! });

const app = express();
app.get("/events", sseStream(ticketResolver({ service, reconnectMs: 1_000 }), { service }));

const server = app.listen(0, "127.0.0.1", () => process.send!((server.address() as AddressInfo).port));
