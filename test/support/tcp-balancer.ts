import { once } from "node:events";
import http from "node:http";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** Time between two questions to each process. */
const PERIOD_MS = 100;

/**
 * A load balancer for TCP. New connections go in turn to the processes that answer `GET /ready` with 200. Open connections stay
 * with their process.
 */
export class TcpBalancer {
  /** The time of each connection of a client, as `performance.now()`. */
  readonly accepted: number[] = [];
  /** Connections for which no process was ready. */
  refused = 0;
  readonly #server: Server;
  /** By port. */
  readonly #processes = new Map<number, { isReady: boolean }>();
  readonly #sockets = new Set<Socket>();
  readonly #timer: NodeJS.Timeout;
  #next = 0;

  private constructor() {
    this.#server = createServer((client) => this.#accept(client));
    this.#timer = setInterval(() => {
      for (const port of this.#processes.keys()) void this.#ask(port);
    }, PERIOD_MS);
  }

  static async start(): Promise<TcpBalancer> {
    const balancer = new TcpBalancer();
    balancer.#server.listen(0, "127.0.0.1");
    await once(balancer.#server, "listening");
    return balancer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The processes that get new connections. */
  get ready(): readonly number[] {
    return [...this.#processes].filter(([, { isReady }]) => isReady).map(([port]) => port);
  }

  add(port: number): void {
    this.#processes.set(port, { isReady: false });
  }

  remove(port: number): void {
    this.#processes.delete(port);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    this.accepted.push(performance.now());
    const { ready } = this;
    const port = ready[this.#next++ % ready.length];
    if (port === undefined) {
      this.refused++;
      client.destroy();
      return;
    }
    const upstream = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(from);
      from.on("error", () => {});
      from.once("close", () => {
        this.#sockets.delete(from);
        to.destroySoon();
      });
      from.pipe(to);
    }
  }

  /** Never rejects. */
  async #ask(port: number): Promise<void> {
    const status = await statusOf(port);
    const found = this.#processes.get(port);
    if (found !== undefined) found.isReady = status === 200;
  }
}

/** `null` without an answer. */
function statusOf(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    http
      .get({ host: "127.0.0.1", port, path: "/ready", agent: false, timeout: 1_000 }, (response) => {
        response.resume();
        resolve(response.statusCode ?? null);
      })
      .on("timeout", function (this: http.ClientRequest) {
        this.destroy();
      })
      .on("error", () => resolve(null));
  });
}
