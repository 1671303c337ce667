import { once } from "node:events";
import { createServer, get, OutgoingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

/**
 * A process that observes all writes to responses, like an APM agent. Arguments: the prototype that it patches, and
 * whether it does so before or after the library is loaded. Prints the observed and the received text as JSON.
 */
const [, , target = "none", when = "before"] = process.argv;

let seen = "";

function observe(prototype: { write: OutgoingMessage["write"] }): void {
  // Differs from the original only in its name.
  const write = prototype.write;
  prototype.write = function observed(
    this: OutgoingMessage,
    chunk: unknown,
    encoding?: unknown,
    done?: unknown,
  ) {
    seen += String(chunk);
    return Reflect.apply(write, this, [chunk, encoding, done]) as boolean;
  };
}

function patch(): void {
  if (target === "ServerResponse") observe(ServerResponse.prototype);
  if (target === "OutgoingMessage") observe(OutgoingMessage.prototype);
}

if (when === "before") patch();
const { ResponseSink } = await import("../../middleware/response/response-sink.js");
const { EncodedFrames } = await import("../../lib/sse/frame.js");
if (when === "after") patch();

const server = createServer((req, res) => {
  const sink = new ResponseSink(req, res);
  sink.start(
    { status: 200, headers: { "Content-Type": "text/event-stream" } },
    new EncodedFrames("data: 1\n\n"),
  );
  sink.write(new EncodedFrames("data: 2\n\n"));
  sink.end();
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;
const [response] = (await once(get({ port, agent: false }), "response")) as [NodeJS.ReadableStream];
const got = await text(response);
server.close();
process.stdout.write(JSON.stringify({ seen, got }));
