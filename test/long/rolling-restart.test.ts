import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import { eventually, repeat } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { TcpBalancer } from "../support/tcp-balancer.js";
import type { RollingOptions } from "./rolling-restart-app.js";

const APP = fileURLToPath(new URL("./rolling-restart-app.js", import.meta.url));

const PROCESSES = 4;
const CLIENTS = 1_000;

/** Time between two events. */
const EVENT_MS = 500;

const OPTIONS: RollingOptions = { retryMs: 1_000, timeoutMs: 20_000, spreadMs: 4_000 };

/** From the end of the first stream until its last client is back: each `retry:` has up to twice `retryMs`. */
const DRAIN_MS = OPTIONS.spreadMs + 2 * OPTIONS.retryMs;

/**
 * Added to the `retry:` of a client, for a busy machine: opening the connection, the subscription and the replay. A second attempt
 * of a client fails the test in any case.
 */
const MARGIN_MS = 5_000;

/** Connects are counted in intervals of this length. */
const BUCKET_MS = 1_000;

/** The most connects in one interval, compared with the mean of a drain. Without any spread, it would be 6. */
const MAX_PEAK = 3;

/** How long all waits of one step may take. */
const PATIENCE_MS = 30_000;

/** A process of the app. */
class App {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  port = 0;

  constructor(redis: string) {
    this.child = fork(APP, [redis, JSON.stringify(OPTIONS)], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.exited = once(this.child, "exit");
  }

  async start(): Promise<this> {
    const [message] = (await once(this.child, "message")) as [{ port: number }];
    this.port = message.port;
    return this;
  }
}

/** Reconnects as an EventSource does: after the `retry:` that the server sent last, with the last id. */
class ReconnectingClient {
  /** The numbers of the events. */
  readonly numbers: number[] = [];
  /** Types of all other events. */
  readonly others: string[] = [];
  /** Milliseconds between the end of a stream and `connected`, and the `retry:` for this time. */
  readonly away: { readonly awayMs: number; readonly retryMs: number }[] = [];
  readonly faults: unknown[] = [];
  isConnected = false;
  readonly #url: string;
  readonly #stopped = new AbortController();
  #stream: SseClient | null = null;
  #lastEventId: string | undefined;
  readonly #done: Promise<void>;

  constructor(url: string) {
    this.#url = url;
    this.#done = this.#run().catch((error: unknown) => void this.faults.push(error));
  }

  /** The numbers of all events, including those of the open stream. */
  get heard(): readonly number[] {
    return this.#stream === null ? this.numbers : [...this.numbers, ...numbersOf(this.#stream)];
  }

  stop(): Promise<void> {
    this.#stopped.abort();
    this.#stream?.destroy();
    return this.#done;
  }

  async #run(): Promise<void> {
    let ended: { readonly at: number; readonly retryMs: number } | null = null;
    while (!this.#stopped.signal.aborted) {
      const headers = this.#lastEventId === undefined ? {} : { "Last-Event-ID": this.#lastEventId };
      const stream = (this.#stream = await openStream(this.#url, { headers }));
      await stream.next(({ event }) => event === "connected", PATIENCE_MS);
      this.isConnected = true;
      if (ended !== null) this.away.push({ awayMs: performance.now() - ended.at, retryMs: ended.retryMs });
      await stream.ended;
      this.isConnected = false;
      ended = { at: performance.now(), retryMs: stream.retryMs! };
      this.numbers.push(...numbersOf(stream));
      for (const { event } of stream.events) if (event !== "message") this.others.push(event);
      this.#lastEventId = stream.lastEventId;
      this.#stream = null;
      await pause(ended.retryMs, undefined, { signal: this.#stopped.signal }).catch(() => {});
    }
  }
}

const numbersOf = ({ events }: SseClient): readonly number[] =>
  events.filter(({ event }) => event === "message").map(({ data }) => Number(data));

describeFaults(
  `a rolling restart of ${PROCESSES} processes with ${CLIENTS} clients`,
  (rig) => {
    it("loses no event, keeps no client away longer than its retry, and spreads the connects", async () => {
      const balancer = await TcpBalancer.start();
      const apps: App[] = [];
      const clients: ReconnectingClient[] = [];
      rig.undo(async () => {
        await Promise.all(clients.map((client) => client.stop()));
        await balancer.close();
        for (const { child } of apps) child.kill("SIGKILL");
        await Promise.all(apps.map(({ exited }) => exited));
      });
      const start = async (): Promise<void> => {
        const app = new App(rig.server.url);
        apps.push(app);
        await app.start();
        balancer.add(app.port);
        await eventually(() => expect(balancer.ready).to.include(app.port), PATIENCE_MS);
      };
      const allConnected = (): Promise<void> =>
        eventually(() => {
          expect(clients.filter(({ isConnected }) => !isConnected)).to.have.length(0);
        }, PATIENCE_MS);

      await Promise.all(Array.from({ length: PROCESSES }, start));
      const service = rig.connect();
      for (let count = 0; count < CLIENTS; count += 100) {
        clients.push(...Array.from({ length: 100 }, () => new ReconnectingClient(`${balancer.url}/events`)));
        await allConnected();
      }

      let published = 0;
      const publisher = repeat(async () => {
        await service.publish("news", { data: ++published });
        await pause(EVENT_MS);
      });
      const peaks: number[] = [];
      for (const app of apps.slice(0, PROCESSES)) {
        const before = balancer.accepted.length;
        app.child.kill("SIGTERM");
        const [code] = (await app.exited) as [number | null];
        expect(code).to.equal(0);
        balancer.remove(app.port);
        await allConnected();
        const connects = balancer.accepted.slice(before);
        peaks.push(peakOf(connects) / ((connects.length * BUCKET_MS) / DRAIN_MS));
        await start();
      }
      await publisher.stop();
      await eventually(() => {
        for (const { heard } of clients) expect(heard.at(-1)).to.equal(published);
      }, PATIENCE_MS);

      for (const { heard, others, faults } of clients) {
        expect(faults).to.deep.equal([]);
        expect(others.filter((type) => type !== "connected" && type !== "closing")).to.deep.equal([]);
        const all = Array.from({ length: published }, (_, index) => index + 1);
        expect(heard).to.deep.equal(all);
      }
      expect(balancer.refused).to.equal(0);
      const away = clients.flatMap((client) => client.away);
      // Each process had at least a quarter of the clients, except for a few that the balancer had distributed unevenly.
      expect(away.length).to.be.greaterThan(CLIENTS * 0.9);
      const late = away.map(({ awayMs, retryMs }) => awayMs - retryMs);
      expect(Math.max(...late), "milliseconds above the retry").to.be.lessThan(MARGIN_MS);
      expect(new Set(away.map(({ retryMs }) => retryMs)).size).to.be.greaterThan(100);
      for (const peak of peaks)
        expect(peak, "most connects in an interval, by the mean").to.be.below(MAX_PEAK);
    });
  },
  { timeoutMs: 180_000 },
);

/** The largest number of these times in one bucket. */
function peakOf(times: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const time of times) {
    const bucket = Math.floor((time - times[0]!) / BUCKET_MS);
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  return Math.max(...counts.values());
}
