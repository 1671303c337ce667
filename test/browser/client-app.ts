/** The server of the pages in client.test.ts, in its own process. Arguments: the port, and the URL of Redis. */

import { fileURLToPath } from "node:url";

import express from "express";

import { createRedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";

const DIST = fileURLToPath(new URL("../..", import.meta.url));

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Orders</title>
<h1>Orders</h1>
<p id="status">The page is loading.</p>
<p>Orders: <span id="orders"></span></p>
<pre id="record" hidden></pre>
<script type="module" src="/test/browser/client-page.js"></script>`;

const [port, redis] = process.argv.slice(2);
const service = createRedisSse({ redis: redis!, heartbeatMs: 1_000, retryMs: 200 });
const app = express();
app.use((_req, res, next) => {
  res.set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'");
  next();
});
app.get("/", (_req, res) => void res.type("html").send(PAGE));
app.get(
  "/events",
  sseStream(() => "orders", { service, from: "earliest" }),
);
app.use("/client", express.static(`${DIST}/client`));
app.use("/test/browser", express.static(`${DIST}/test/browser`));
app.listen(Number(port), "127.0.0.1", () => console.log("ready"));
