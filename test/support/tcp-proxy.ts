import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  /** What the server answered and is kept back, if it is. */
  kept: Buffer[] | null;
}

/** A command's name as it is on the wire, which no argument that merely contains it is. */
function encodeName(command: string): Buffer {
  return Buffer.from(`$${command.length}\r\n${command}\r\n`);
}

/** Stands between a service and its Redis, and does to the links what networks do. */
export class TcpProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #held = false;
  #refusing = false;
  #cutAt: Buffer | null = null;
  #cutAtReply = false;
  #holdRepliesAt: Buffer | null = null;
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
    for (const link of this.#links) {
      if (link.kept !== null) link.client.write(Buffer.concat(link.kept));
      link.kept = null;
      link.client.resume();
      link.upstream.resume();
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

  /** Cuts the next link on which a client sends this command, before the server hears it. */
  cutAt(command: string): void {
    this.#cutAt = encodeName(command);
  }

  /** Cuts the next link on which the server answers, before the client hears it. */
  cutAtReply(): void {
    this.#cutAtReply = true;
  }

  /** Passes the next such command, and keeps what the server says on its link, to come at one stroke with `release()`. */
  holdRepliesAt(command: string): void {
    this.#holdRepliesAt = encodeName(command);
  }

  /** What is kept of the server's answers. */
  get kept(): string {
    return Buffer.concat([...this.#links].flatMap(({ kept }) => kept ?? [])).toString();
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
      if (this.#holdRepliesAt !== null && chunk.includes(this.#holdRepliesAt)) {
        this.#holdRepliesAt = null;
        link.kept = [];
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
      if (link.kept === null) client.write(chunk);
      else link.kept.push(chunk);
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
