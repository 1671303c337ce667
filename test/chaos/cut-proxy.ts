import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  /** Bytes that still pass to the client before the link is cut. */
  left: number;
}

/**
 * Stands between clients and an app, under one port while apps come and go behind it, and cuts streams wherever it
 * is told to: in the midst of an event.
 */
export class CutProxy {
  /** Where the app is; `null` while there is none, and whoever comes is turned away. */
  upstreamPort: number | null = null;
  readonly #server: Server;
  readonly #links = new Set<Link>();

  private constructor() {
    this.#server = createServer((client) => this.#accept(client));
  }

  static async start(): Promise<CutProxy> {
    const proxy = new CutProxy();
    proxy.#server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 });
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts links, each after so many bytes more as `bytesFor` says; `Infinity` spares it. */
  cutAfter(bytesFor: () => number): void {
    for (const link of this.#links) link.left = Math.min(link.left, bytesFor());
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const { client, upstream } of this.#links) {
      client.destroy();
      upstream.destroy();
    }
    await closed;
  }

  #accept(client: Socket): void {
    client.on("error", () => {});
    if (this.upstreamPort === null) {
      client.destroy();
      return;
    }
    const upstream = connect(this.upstreamPort, "127.0.0.1");
    const link: Link = { client, upstream, left: Infinity };
    this.#links.add(link);
    upstream.on("error", () => {});
    client.pipe(upstream);
    upstream.on("data", (chunk: Buffer) => this.#pass(link, chunk));
    client.on("drain", () => upstream.resume());
    // What was written still goes out before the end.
    upstream.on("close", () => client.end());
    client.on("close", () => {
      upstream.destroy();
      this.#links.delete(link);
    });
  }

  #pass(link: Link, chunk: Buffer): void {
    const { client, upstream } = link;
    if (chunk.length < link.left) {
      link.left -= chunk.length;
      if (!client.write(chunk)) upstream.pause();
      return;
    }
    upstream.destroy();
    client.end(chunk.subarray(0, link.left));
  }
}
