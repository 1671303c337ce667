import { once } from "node:events";
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** An HTTP proxy that can answer 502, or keep the bodies of streams. */
export class FaultyProxy {
  readonly #upstreamPort: number;
  readonly #server: Server;
  readonly #streams = new Set<{ readonly upstream: IncomingMessage; readonly response: ServerResponse }>();
  #isDown = false;
  #isBuffering = false;

  private constructor(upstreamPort: number) {
    this.#upstreamPort = upstreamPort;
    this.#server = createServer((req, res) => this.#forward(req, res));
  }

  static async start(upstreamPort: number): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(upstreamPort);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends all streams, and answers 502 until `restore()`. */
  fail(): void {
    this.#isDown = true;
    for (const { upstream, response } of this.#streams) {
      upstream.destroy();
      response.end();
    }
  }

  /** Keeps all further bytes of bodies until `restore()`. */
  buffer(): void {
    this.#isBuffering = true;
    for (const { upstream } of this.#streams) upstream.pause();
  }

  restore(): void {
    this.#isDown = this.#isBuffering = false;
    for (const { upstream } of this.#streams) upstream.resume();
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close");
  }

  #forward(req: IncomingMessage, res: ServerResponse): void {
    if (this.#isDown) return void res.writeHead(502).end("Bad Gateway");
    const { method, url, headers } = req;
    const forwarded = request({ port: this.#upstreamPort, host: "127.0.0.1", method, path: url, headers });
    forwarded.once("response", (upstream) => {
      const stream = { upstream, response: res };
      this.#streams.add(stream);
      res.writeHead(upstream.statusCode!, upstream.headers);
      res.flushHeaders();
      upstream.on("data", (chunk: Buffer) => res.write(chunk));
      upstream.once("end", () => res.end());
      upstream.once("close", () => this.#streams.delete(stream));
      if (this.#isBuffering) upstream.pause();
    });
    forwarded.on("error", () => res.destroy());
    res.once("close", () => forwarded.destroy());
    forwarded.end();
  }
}
