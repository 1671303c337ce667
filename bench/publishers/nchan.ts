/** Publishes to Nchan as it wants it: an HTTP POST for each event. One connection keeps them in order. */
import { connect } from "node:net";

import { servePublish } from "./resp-server.js";

const port = Number(process.env["BENCH_SERVER_PORT"]);
const socket = connect({ port, host: "127.0.0.1", noDelay: true }).setEncoding("latin1");
const waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
let requests = "";
let rest = "";

socket.on("data", (chunk) => {
  rest += String(chunk);
  for (let end; (end = endOfAnswer(rest)) > 0; rest = rest.slice(end)) {
    const entry = waiting.shift();
    if (/^HTTP\/1\.1 20[0-2]/.test(rest)) entry?.resolve();
    else entry?.reject(new Error(rest.slice(0, rest.indexOf("\r\n"))));
  }
});

/** Where the first answer in the text ends; 0 when it has not come entirely. */
function endOfAnswer(text: string): number {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return 0;
  const length = Number(/^content-length: *(\d+)/im.exec(text.slice(0, head))?.[1] ?? 0);
  return text.length >= head + 4 + length ? head + 4 + length : 0;
}

servePublish((channel, data) => {
  // Pipelined, and all of one turn in one write: the shim must not be what is waited for.
  if (requests === "") {
    setImmediate(() => {
      socket.write(requests);
      requests = "";
    });
  }
  requests += `POST /publish?channel=${channel} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${data.length}\r\n\r\n${data}`;
  return new Promise<void>((resolve, reject) => void waiting.push({ resolve, reject }));
});
