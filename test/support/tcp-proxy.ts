import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  /** What the client said that is kept back: the link hangs. */
  kept: Buffer | null;
}

/** Stands between a service and its Redis, and does to the links what networks do. */
export class TcpProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #held = false;
  #refusing = false;
  #cutAt: Buffer | null = null;
  #holdAt: Buffer | null = null;
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
    this.#holdAt = null;
    for (const link of this.#links) {
      if (link.kept !== null) link.upstream.write(link.kept);
      link.kept = null;
      link.client.resume();
      link.upstream.resume();
    }
  }

  /** Holds every link on which a client says this, from there on: the server does not hear it. */
  holdAt(command: string): void {
    this.#holdAt = Buffer.from(command);
  }

  /** How many links hang at what `holdAt()` named. */
  get heldAt(): number {
    return [...this.#links].filter(({ kept }) => kept !== null).length;
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
    const link: Link = { client, upstream, kept: null };
    this.#links.add(link);
    upstream.on("error", () => {});
    client.on("data", (chunk) => {
      if (this.#cutAt !== null && chunk.includes(this.#cutAt)) {
        this.#cutAt = null;
        client.destroy();
        upstream.destroy();
        return;
      }
      if (link.kept !== null || (this.#holdAt !== null && chunk.includes(this.#holdAt))) {
        link.kept = link.kept === null ? chunk : Buffer.concat([link.kept, chunk]);
        client.pause();
        upstream.pause();
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
