import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { startProgram, stop } from "./children.js";
import { dist } from "./paths.js";

export interface LoadOptions {
  /** Of the server under test. */
  readonly port: number;
  /** Of Redis, or of what publishes in its place. */
  readonly publishPort: number;
  readonly streams: number;
  readonly channels: number;
  readonly prefix: string;
  /** Events in flight. */
  readonly window: number;
  /** Bytes of an event's data. Default 100. */
  readonly size?: number;
  /** A file with a Last-Event-ID for each channel. */
  readonly cursors?: string;
  /** Events that each stream gets before it counts as open. */
  readonly expect?: number;
  /** Streams that open at once. Default 64. */
  readonly connecting?: number;
}

/** What the load client says of one phase. */
export interface LoadResult {
  readonly events: number;
  readonly deliveries: number;
  readonly seconds: number;
  readonly losses: number;
  readonly repeats: number;
  readonly disorder: number;
  readonly unfinished: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** The client's own. */
  readonly cpuUs: number;
  /** Reads that brought something, be it a heartbeat. */
  readonly reads: number;
  readonly ready: number;
  readonly void: string | null;
}

/** A run that counts for nothing, and why. */
export class VoidRun extends Error {}

/** The load client: opens streams, then publishes when it is told to. */
export class LoadClient {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #complaint = "";

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    child.stderr.on("data", (chunk) => (this.#complaint += String(chunk)));
    child.stdin.on("error", () => {}); // it has ended: the next answer says so
  }

  /** Resolves when all streams are open. Rejects with `VoidRun` when they are not. */
  static async open(options: LoadOptions): Promise<{ client: LoadClient; opened: LoadResult }> {
    const client = new LoadClient(startProgram(join(dist, "load-client"), argumentsOf(options)));
    return { client, opened: await client.#answer() };
  }

  /** Publishes for so long (0: without end), the window always full; resolves when every stream has every event. */
  run(limits: { readonly seconds: number; readonly events?: number }): Promise<LoadResult> {
    this.#child.stdin.write(`run ${limits.events ?? 1_000_000_000} ${limits.seconds}\n`);
    return this.#answer();
  }

  /** Publishes so many events at a fixed rate. */
  runAtRate(events: number, perSecond: number): Promise<LoadResult> {
    this.#child.stdin.write(`rate ${events} ${perSecond}\n`);
    return this.#answer();
  }

  /** Only listens. */
  idle(seconds: number): Promise<LoadResult> {
    this.#child.stdin.write(`idle ${seconds}\n`);
    return this.#answer();
  }

  /** Lets the streams leave. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.stdin.end();
    await exited;
  }

  async #answer(): Promise<LoadResult> {
    const { value, done } = (await this.#lines.next()) as IteratorResult<string, undefined>;
    if (done) throw new VoidRun(this.#complaint.trim() || "the load client ended");
    const result = JSON.parse(value) as LoadResult;
    if (result.void === null && result.losses + result.repeats + result.disorder === 0) return result;
    await stop(this.#child);
    throw new VoidRun(
      `${result.void ?? "not every event once and in order"}: ${result.losses} lost, ${result.repeats} repeated, ` +
        `${result.disorder} out of order, ${result.unfinished} unfinished, ${result.ready} streams open`,
    );
  }
}

function argumentsOf(options: LoadOptions): string[] {
  const { port, publishPort, streams, channels, prefix, window, size, cursors, expect, connecting } = options;
  const given = {
    port,
    "publish-port": publishPort,
    streams,
    channels,
    prefix,
    window,
    size,
    cursors,
    expect,
    connecting,
  };
  return Object.entries(given).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, String(value)],
  );
}
