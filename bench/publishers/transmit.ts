/** Another process that broadcasts with @boringnode/transmit, over its Redis transport. */
import { Transmit } from "@boringnode/transmit";
import { redis } from "@boringnode/transmit/transports";

import { servePublish } from "./resp-server.js";

const { hostname, port } = new URL(process.env["BENCH_REDIS_URL"]!);
const transmit = new Transmit(
  { pingInterval: false, transport: null },
  redis({ host: hostname, port: Number(port) })(),
);
servePublish(async (channel, data) => transmit.broadcast(channel, data));
