import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
}

/** Stands between two that are connected, and does to the links what networks do. */
export class TcpProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #held = false;
  #refusing = false;
  #idleMs = 0;
  #cutAt: Buffer | null = null;
  #cutAtReply = false;
  /** How many links were made through it, those that were refused included. */
  accepted = 0;

  private constructor(upstreamPort: number) {
    this.#server = createServer({ allowHalfOpen: false }, (client) => this.#accept(client, upstreamPort));
  }

  static async start(upstreamPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(upstreamPort);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get open(): number {
    return this.#links.size;
  }

  /** From now on nothing passes, in either direction, and nobody is told: a half-open link. New links hang too. */
  hold(): void {
    this.#held = true;
    for (const { client, upstream } of this.#links) {
      client.pause();
      upstream.pause();
    }
  }

  /** Lets everything pass again, what was held first. */
  release(): void {
    this.#held = false;
    for (const { client, upstream } of this.#links) {
      client.resume();
      upstream.resume();
    }
  }

  /** Ends every link that comes, as a server at its limit does. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
  }

  cut(): void {
    for (const { client, upstream } of this.#links) {
      client.destroy();
      upstream.destroy();
    }
  }

  /** From now on cuts every new link on which nothing passed for so long, as proxies do with idle connections. */
  cutIdle(idleMs: number): void {
    this.#idleMs = idleMs;
  }

  /** Cuts the next link on which a client says this, before the server hears it. */
  cutAt(command: string): void {
    this.#cutAt = Buffer.from(command);
  }

  /** Cuts the next link on which the server answers, before the client hears it. */
  cutAtReply(): void {
    this.#cutAtReply = true;
  }

  /** Whether the cut that was asked for is still to come. */
  get cutPending(): boolean {
    return this.#cutAt !== null || this.#cutAtReply;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cut();
    await closed;
  }

  #accept(client: Socket, upstreamPort: number): void {
    this.accepted++;
    client.on("error", () => {});
    if (this.#refusing) {
      client.destroy();
      return;
    }
    const upstream = connect(upstreamPort, "127.0.0.1");
    const link = { client, upstream };
    this.#links.add(link);
    upstream.on("error", () => {});
    // Writes count too: a link is idle when nothing passes in either direction.
    client.setTimeout(this.#idleMs, () => {
      client.destroy();
      upstream.destroy();
    });
    client.on("data", (chunk) => {
      if (this.#cutAt !== null && chunk.includes(this.#cutAt)) {
        this.#cutAt = null;
        client.destroy();
        upstream.destroy();
        return;
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk) => {
      if (this.#cutAtReply) {
        this.#cutAtReply = false;
        client.destroy();
        upstream.destroy();
        return;
      }
      client.write(chunk);
    });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on("close", () => {
        this.#links.delete(link);
        // A held link keeps its other end in the dark.
        if (!this.#held) other.destroy();
      });
    }
    if (this.#held) {
      client.pause();
      upstream.pause();
    }
  }
}
