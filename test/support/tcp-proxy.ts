import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
}

/** Stands between a service and its Redis, and does to the links what networks do. */
export class TcpProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #held = false;
  #refusing = false;
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

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
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
      // Where one end has closed meanwhile, the other hears of it now.
      if (client.destroyed) upstream.destroy();
      if (upstream.destroyed) client.destroy();
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

  /** Cuts the next link on which a client says this, before the server hears it. */
  cutAt(command: string): void {
    this.#cutAt = Buffer.from(command);
  }

  /** Cuts the next link on which the server answers, before the client hears it. */
  cutAtReply(): void {
    this.#cutAtReply = true;
  }

  /** Takes back the cuts that are still to come. */
  forgetCuts(): void {
    this.#cutAt = null;
    this.#cutAtReply = false;
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
        // A held link keeps its other end in the dark.
        if (!this.#held) other.destroy();
        if (other.destroyed) this.#links.delete(link);
      });
    }
    if (this.#held) {
      client.pause();
      upstream.pause();
    }
  }
}
