import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** One direction of a link: nothing overtakes what is on its way. */
interface Way {
  readonly from: Socket;
  readonly to: Socket;
  /** Chunks that are on their way, the oldest first. */
  readonly chunks: Buffer[];
}

/** Of the first chunk of a client so many bytes are kept. */
const OPENING_BYTES = 128;

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  /** How the client's first chunk begins; empty before. */
  opening: Buffer;
  readonly there: Way;
  readonly back: Way;
  /** What the client said and the server does not hear yet, where the link hangs at a command. */
  unheard: Buffer[] | null;
  /** What the server answered and the client does not hear yet, where answers are kept. */
  untold: Buffer[] | null;
}

/** Stands between two that are connected, and does to the links what networks do. */
export class TcpProxy {
  upstreamPort: number;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #held = false;
  #refusing = false;
  #cutsFrom: ((opening: Buffer) => boolean) | null = null;
  #idleMs = 0;
  #delayMs = 0;
  #bytesPerSecond = Infinity;
  #cutAt: Buffer | null = null;
  #cutAtReply = false;
  #cutInReply: ((reply: Buffer) => number) | null = null;
  #holdAt: Buffer | null = null;
  #keepRepliesAt: Buffer | null = null;
  /** How many links were made through it, those that were refused included. */
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
    this.#keepRepliesAt = null;
    for (const link of this.#links) {
      const { client, upstream, unheard, untold } = link;
      link.unheard = link.untold = null;
      // At one stroke each, as a network delivers what it has held up.
      if (unheard !== null) this.#pass(link.there, Buffer.concat(unheard));
      if (untold !== null) this.#pass(link.back, Buffer.concat(untold));
      client.resume();
      upstream.resume();
      // Where one end has closed meanwhile, the other hears of it now.
      if (client.destroyed) upstream.destroy();
      if (upstream.destroyed) client.destroy();
    }
  }

  /** From now on everything comes so much later. Nothing overtakes anything. */
  delay(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** From now on so many bytes pass in a second, in each direction of each link; the rest has to wait at its sender. */
  throttle(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Ends every link that comes, as a server at its limit does. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
  }

  cut(): void {
    for (const link of this.#links) cut(link);
  }

  /** Cuts the links whose client began so, and from now on each that begins so; `null` ends that. */
  cutFrom(matches: ((opening: Buffer) => boolean) | null): void {
    this.#cutsFrom = matches;
    for (const link of this.#links) if (matches?.(link.opening)) cut(link);
  }

  /** From now on cuts every new link on which nothing passed for so long, as proxies do with idle connections. */
  cutIdle(idleMs: number): void {
    this.#idleMs = idleMs;
  }

  /** Cuts the next link on which a client sends this command, before the server hears it. */
  cutAt(command: string): void {
    this.#cutAt = encodeName(command);
  }

  /** Cuts the next link on which the server answers, before the client hears it. */
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

  /** Takes back the cuts that are still to come. */
  forgetCuts(): void {
    this.#cutAt = null;
    this.#cutAtReply = false;
    this.#cutInReply = null;
  }

  /** Whether the cut that was asked for is still to come. */
  get cutPending(): boolean {
    return this.#cutAt !== null || this.#cutAtReply || this.#cutInReply !== null;
  }

  /** Holds every link on which a client sends this command, from there on: the server does not hear it. */
  holdAt(command: string): void {
    this.#holdAt = encodeName(command);
  }

  /** How many links hang at what `holdAt()` named. */
  get heldAt(): number {
    return [...this.#links].filter(({ unheard }) => unheard !== null).length;
  }

  /** Passes the next such command, and keeps what the server says on its link from there on. */
  keepRepliesAt(command: string): void {
    this.#keepRepliesAt = encodeName(command);
  }

  /** What is kept of the server's answers. */
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
    // Writes count too: a link is idle when nothing passes in either direction.
    client.setTimeout(this.#idleMs, () => cut(link));
    client.on("data", (chunk) => this.#hear(link, chunk));
    upstream.on("data", (chunk) => this.#tell(link, chunk));
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
      link.untold ??= []; // nothing passes behind the cut
      link.client.write(chunk.subarray(0, position), () => cut(link));
      return;
    }
    if (link.untold === null) this.#pass(link.back, chunk);
    else link.untold.push(chunk);
  }

  /** The pace of the network, which is the fault itself: timers are right here. */
  #pass({ from, to, chunks }: Way, chunk: Buffer): void {
    if (this.#bytesPerSecond !== Infinity) {
      from.pause();
      const forMs = (chunk.length / this.#bytesPerSecond) * 1_000;
      setTimeout(() => !this.#held && from.resume(), forMs);
    }
    if (this.#delayMs === 0 && chunks.length === 0) {
      if (to.write(chunk)) return;
      from.pause();
      to.once("drain", () => !this.#held && from.resume());
      return;
    }
    // Whichever timer fires first, the oldest goes first.
    chunks.push(chunk);
    setTimeout(() => to.write(chunks.shift()!), this.#delayMs);
  }
}

function cut({ client, upstream }: Link): void {
  client.destroy();
  upstream.destroy();
}

/** A command's name as it is on the wire, which no argument that merely contains it is. */
function encodeName(command: string): Buffer {
  return Buffer.from(`$${command.length}\r\n${command}\r\n`);
}
