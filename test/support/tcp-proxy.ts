import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** One direction of a connection. Chunks stay in order. */
interface Way {
  readonly from: Socket;
  readonly to: Socket;
  /** Chunks in transit, the oldest first. */
  readonly chunks: Buffer[];
}

/** Number of bytes kept of the first chunk of a client. */
const OPENING_BYTES = 128;

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  /** Start of the client's first chunk. Empty before it arrives. */
  opening: Buffer;
  readonly there: Way;
  readonly back: Way;
  /** Data of the client that is held back at a command. */
  unheard: Buffer[] | null;
  /** Data of the server that is held back. */
  untold: Buffer[] | null;
}

/** A proxy that simulates network faults. */
export class TcpProxy {
  upstreamPort: number;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #held = false;
  #refusing = false;
  #cutsFrom: ((opening: Buffer) => boolean) | null = null;
  #idleMs = 0;
  #delayMs = 0;
  #cutAt: Buffer | null = null;
  #cutAtReply = false;
  #cutInReply: ((reply: Buffer) => number) | null = null;
  #holdAt: Buffer | null = null;
  #keepRepliesAt: Buffer | null = null;
  /** Number of connections so far, also refused ones. */
  accepted = 0;

  private constructor(upstreamPort: number) {
    this.upstreamPort = upstreamPort;
    this.#server = createServer({ allowHalfOpen: false }, (client) => this.#accept(client));
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

  /** Holds all data in both directions without closing connections (half-open). New connections are held too. */
  hold(): void {
    this.#held = true;
    for (const { client, upstream } of this.#links) {
      client.pause();
      upstream.pause();
    }
  }

  /** Releases the held data and lets new data pass. */
  release(): void {
    this.#held = false;
    this.#holdAt = null;
    this.#keepRepliesAt = null;
    for (const link of this.#links) {
      const { client, upstream, unheard, untold } = link;
      link.unheard = link.untold = null;
      // One write per direction, as a network delivers delayed data.
      if (unheard !== null) this.#pass(link.there, Buffer.concat(unheard));
      if (untold !== null) this.#pass(link.back, Buffer.concat(untold));
      client.resume();
      upstream.resume();
      // If one end has closed since, close the other end now.
      if (client.destroyed) upstream.destroy();
      if (upstream.destroyed) client.destroy();
    }
  }

  /** Delays all data from now on. The order stays. */
  delay(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** Closes every new connection, as a server at its connection limit does. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
  }

  cut(): void {
    for (const link of this.#links) cut(link);
  }

  /** Cuts all current and new connections whose client data starts with this text. `null` ends this. */
  cutFrom(matches: ((opening: Buffer) => boolean) | null): void {
    this.#cutsFrom = matches;
    for (const link of this.#links) if (matches?.(link.opening)) cut(link);
  }

  /** Cuts new connections that were idle for this time, as some proxies do. */
  cutIdle(idleMs: number): void {
    this.#idleMs = idleMs;
  }

  /** Cuts the next connection on which a client sends this command, before the server gets it. */
  cutAt(command: string): void {
    this.#cutAt = encodeName(command);
  }

  /** Cuts the next connection on which the server answers, before the client gets the answer. */
  cutAtReply(): void {
    this.#cutAtReply = true;
  }

  /**
   * Shows each reply of the server to `find`. If `find` returns a position, the client gets the bytes before it, and
   * the link is cut there. If `find` returns -1, the whole reply passes. Only one link is cut.
   */
  cutInReply(find: (reply: Buffer) => number): void {
    this.#cutInReply = find;
  }

  /** Cancels pending cuts. */
  forgetCuts(): void {
    this.#cutAt = null;
    this.#cutAtReply = false;
    this.#cutInReply = null;
  }

  /** Whether a requested cut is still pending. */
  get cutPending(): boolean {
    return this.#cutAt !== null || this.#cutAtReply || this.#cutInReply !== null;
  }

  /** Holds every connection on which a client sends this command. The server does not get the command. */
  holdAt(command: string): void {
    this.#holdAt = encodeName(command);
  }

  /** Number of connections held by `holdAt()`. */
  get heldAt(): number {
    return [...this.#links].filter(({ unheard }) => unheard !== null).length;
  }

  /** Lets the next such command pass, and holds the answers on its connection. */
  keepRepliesAt(command: string): void {
    this.#keepRepliesAt = encodeName(command);
  }

  /** The held answers of the server. */
  get keptReplies(): string {
    return Buffer.concat([...this.#links].flatMap(({ untold }) => untold ?? [])).toString();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cut();
    await closed;
  }

  #accept(client: Socket): void {
    this.accepted++;
    client.on("error", () => {});
    if (this.#refusing) {
      client.destroy();
      return;
    }
    const upstream = connect(this.upstreamPort, "127.0.0.1");
    upstream.on("error", () => {});
    const link: Link = {
      client,
      upstream,
      opening: Buffer.alloc(0),
      there: { from: client, to: upstream, chunks: [] },
      back: { from: upstream, to: client, chunks: [] },
      unheard: null,
      untold: null,
    };
    this.#links.add(link);
    // Writes count too. A connection is idle if no data passes in either direction.
    client.setTimeout(this.#idleMs, () => cut(link));
    client.on("data", (chunk) => this.#hear(link, chunk));
    upstream.on("data", (chunk) => this.#tell(link, chunk));
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on("close", () => {
        // A held connection does not report the close to its other end.
        if (!this.#held) other.destroy();
        if (other.destroyed) this.#links.delete(link);
      });
    }
    if (this.#held) {
      client.pause();
      upstream.pause();
    }
  }

  #hear(link: Link, chunk: Buffer): void {
    if (link.opening.length === 0) {
      link.opening = Buffer.from(chunk.subarray(0, OPENING_BYTES));
      if (this.#cutsFrom?.(link.opening)) return cut(link);
    }
    if (this.#cutAt !== null && chunk.includes(this.#cutAt)) {
      this.#cutAt = null;
      return cut(link);
    }
    if (this.#holdAt !== null && chunk.includes(this.#holdAt)) link.unheard ??= [];
    if (this.#keepRepliesAt !== null && chunk.includes(this.#keepRepliesAt)) {
      this.#keepRepliesAt = null;
      link.untold ??= [];
    }
    if (link.unheard === null) this.#pass(link.there, chunk);
    else link.unheard.push(chunk);
  }

  #tell(link: Link, chunk: Buffer): void {
    if (this.#cutAtReply) {
      this.#cutAtReply = false;
      return cut(link);
    }
    const position = this.#cutInReply?.(chunk) ?? -1;
    if (position >= 0) {
      this.#cutInReply = null;
      link.untold ??= []; // no data passes after the cut
      link.client.write(chunk.subarray(0, position), () => cut(link));
      return;
    }
    if (link.untold === null) this.#pass(link.back, chunk);
    else link.untold.push(chunk);
  }

  /** Delay of the simulated network. A timer is correct here, because the delay is the fault. */
  #pass({ from, to, chunks }: Way, chunk: Buffer): void {
    if (this.#delayMs === 0 && chunks.length === 0) {
      if (to.write(chunk)) return;
      from.pause();
      to.once("drain", () => !this.#held && from.resume());
      return;
    }
    // Whichever timer fires first, the oldest chunk is sent first.
    chunks.push(chunk);
    setTimeout(() => to.write(chunks.shift()!), this.#delayMs);
  }
}

function cut({ client, upstream }: Link): void {
  client.destroy();
  upstream.destroy();
}

/** The encoded name of a command. It does not match arguments that contain the name. */
function encodeName(command: string): Buffer {
  return Buffer.from(`$${command.length}\r\n${command}\r\n`);
}
