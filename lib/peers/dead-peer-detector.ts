import { monotonicNow, type Clock } from "../clock.js";
import { delay } from "../deadline.js";
import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import {
  placeOf,
  parseUnanswered,
  remotePortOf,
  tableOf,
  type TcpEnds,
  type TcpTable,
  type UnansweredSocket,
} from "./tcp-table.js";

/** A TCP connection, usually a `net.Socket`. With HTTP/2, several sinks share one connection. */
export interface SinkConnection extends TcpEnds {
  /** The error that ended the connection. */
  readonly errored?: NodeJS.ErrnoException | null;
  /** Turns TCP keepalive on or off, as `net.Socket` does. */
  setKeepAlive(enable: boolean, initialDelayMs: number): unknown;
  /** Destroys the connection with all its streams. */
  destroy(): unknown;
}

/** Reads a TCP table of the kernel, in whole lines. After `signal` has fired, the read may end early. */
export type ReadTcpTable = (table: TcpTable, signal: AbortSignal) => AsyncIterable<string>;

export interface DeadPeerDetectorOptions<Stream> {
  readonly clock: Clock;
  /** How long a client may leave retransmitted data unanswered. `Infinity` turns the detector off. */
  readonly timeoutMs: number;
  /** `null` if the operating system has no TCP tables to read. */
  readonly read: ReadTcpTable | null;
  /** Whether the machine is little-endian. */
  readonly littleEndian: boolean;
  /** Called for each stream of a lost client. */
  readonly onLost: (stream: Stream) => void;
}

interface Watched<Stream> {
  readonly stream: Stream;
  readonly connection: SinkConnection;
}

interface Suspicion {
  /** The time of the first check that found no answer, as `monotonicNow()`. */
  readonly since: number;
  /** The number of retransmissions at that time. */
  readonly timesBefore: number;
  readonly last: UnansweredSocket;
}

const log = createLog("session");

/** Checks per timeout. */
const CHECKS = 4;
/** The most checks per timeout. Extra checks happen when a connection reaches its timeout between two regular checks. */
const MAX_CHECKS = 20;
/** Checks take at most this share of the time. If a check is slow, the next pause is longer, up to one minute. */
const MAX_SHARE = 1 / 20;
const MAX_PAUSE_MS = 60_000;

/** How long TCP keepalive needs after its first probe. libuv sets ten probes with an interval of one second. */
const PROBING_MS = 10_000;
/** Systems set the keepalive delay in whole seconds. */
const MIN_KEEPALIVE_MS = 1_000;
/** The default of most systems. Linux rejects more than nine hours. */
const MAX_KEEPALIVE_MS = 2 * 60 * 60 * 1_000;

/** The errors with which a system closes a connection whose peer does not answer. */
const UNANSWERED: ReadonlySet<string> = new Set(["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN"]);

/**
 * Finds lost clients: clients that vanished without closing their connection. For example, a phone loses its signal, or a
 * NAT forgets the connection. Writes still succeed, because a heartbeat always fits into the kernel's buffer. Linux gives
 * up such a connection only after about 15 minutes.
 *
 * TCP keepalive finds a lost client if no sent data is unanswered. While data is unanswered, keepalive sends no probes.
 * Node.js cannot set TCP_USER_TIMEOUT. So the detector reads the kernel's TCP tables to find sockets with repeated
 * retransmissions and no answer. A client that answers but has no room for data is alive. `limits.maxStallMs` ends its
 * stream.
 *
 * With 10,000 connections, a check took 60 ms of CPU time. The main thread took 40 ms of it, in 370 steps. With 1,000
 * connections, it was 13 ms and 9 ms. With 100 connections, it was less than 5 ms. All sockets of the network namespace
 * count, including those in TIME_WAIT. By default, a check runs every 15 s.
 */
export class DeadPeerDetector<Stream> {
  readonly #options: DeadPeerDetectorOptions<Stream>;
  readonly #stopping = new AbortController();
  /** The connection of each watched stream. */
  readonly #watched = new Map<Stream, SinkConnection>();
  /** The streams whose connections the last check found without an answer. */
  #suspicions = new Map<Stream, Suspicion>();
  #started = false;

  constructor(options: DeadPeerDetectorOptions<Stream>) {
    this.#options = options;
  }

  /** Watches the connection of a stream. If the client is lost, calls `onLost` and destroys the connection. */
  add(stream: Stream, connection: SinkConnection | null | undefined): void {
    const { timeoutMs, read } = this.#options;
    if (timeoutMs === Infinity || !connection || this.#stopping.signal.aborted) return;
    keepAlive(connection, timeoutMs);
    if (read === null) return;
    this.#watched.set(stream, connection);
    this.#start();
  }

  /** Called when a stream has ended. */
  remove(stream: Stream): void {
    this.#suspicions.delete(stream);
    this.#watched.delete(stream);
  }

  stop(): void {
    this.#stopping.abort();
    this.#suspicions.clear();
  }

  #start(): void {
    if (this.#started) return;
    this.#started = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    const { clock, timeoutMs } = this.#options;
    const { signal } = this.#stopping;
    let tookMs = 0;
    let checkedAt = monotonicNow(clock);
    for (;;) {
      const shortestMs = Math.max(timeoutMs / MAX_CHECKS, Math.min(tookMs / MAX_SHARE, MAX_PAUSE_MS));
      const periodMs = Math.max(timeoutMs / CHECKS, shortestMs);
      // The pause is random, so that processes that started together do not check at the same time.
      const pauseMs = Math.min(periodMs * (0.75 + 0.5 * Math.random()), this.#untilDueMs(checkedAt));
      await delay(clock, Math.max(shortestMs, pauseMs), signal);
      if (signal.aborted) return;
      // The process or the machine was suspended. Clients may have answered during that time.
      const beganAt = monotonicNow(clock);
      if (beganAt - checkedAt > 2 * periodMs) this.#suspicions.clear();
      // No deadline is needed. Only the next check waits for this one, and it could not read the tables either.
      await this.#check();
      checkedAt = monotonicNow(clock);
      tookMs = checkedAt - beganAt;
    }
  }

  /** Milliseconds until the next connection without an answer reaches its timeout; `Infinity` without such a connection. */
  #untilDueMs(now: number): number {
    const { timeoutMs } = this.#options;
    const due = Array.from(this.#suspicions.values(), ({ since }) => since + timeoutMs - now);
    return due.reduce((least, each) => (each > 0 ? Math.min(least, each) : least), Infinity);
  }

  async #check(): Promise<void> {
    const { clock, timeoutMs } = this.#options;
    const before = this.#suspicions;
    const now = monotonicNow(clock);
    this.#suspicions = new Map();
    try {
      for (const [stream, found] of await this.#findUnanswered()) {
        // The stream may have ended during the read.
        if (!this.#watched.has(stream)) continue;
        const known = before.get(stream);
        const goesOn = known !== undefined && isUnansweredStill(known.last, found);
        const suspicion = goesOn
          ? { ...known, last: found }
          : { since: monotonicNow(clock), timesBefore: found.times, last: found };
        // At least one more retransmission is required. A client that answers now and then on a bad line is alive.
        if (now - suspicion.since >= timeoutMs && found.times > suspicion.timesBefore) {
          this.#drop(stream, found);
        } else {
          this.#suspicions.set(stream, suspicion);
        }
      }
    } catch (error) {
      // A failed check proves nothing, so no connection is destroyed.
      log("cannot check for lost clients: %s", sanitize(error).message);
    }
  }

  async #findUnanswered(): Promise<ReadonlyMap<Stream, UnansweredSocket>> {
    const { read, littleEndian } = this.#options;
    const { signal } = this.#stopping;
    const found = new Map<Stream, UnansweredSocket>();
    for (const table of this.#tables()) {
      // Most checks find no such socket. Then the text of no connection's ends is needed.
      let byPort: ReadonlyMap<number, readonly Watched<Stream>[]> | null = null;
      for await (const lines of read!(table, signal)) {
        if (signal.aborted) return new Map();
        for (const socket of parseUnanswered(lines)) {
          byPort ??= this.#byRemotePort();
          for (const watched of byPort.get(remotePortOf(socket)) ?? []) {
            const place = placeOf(watched.connection, littleEndian);
            if (place?.table === table && place.ends === socket.ends) found.set(watched.stream, socket);
          }
        }
      }
    }
    return found;
  }

  /** The tables with watched connections. */
  #tables(): ReadonlySet<TcpTable> {
    const tables = new Set<TcpTable>();
    for (const { remoteAddress } of this.#watched.values()) {
      if (remoteAddress !== undefined) tables.add(tableOf(remoteAddress));
      if (tables.size === 2) break;
    }
    return tables;
  }

  #byRemotePort(): ReadonlyMap<number, readonly Watched<Stream>[]> {
    const byPort = new Map<number, Watched<Stream>[]>();
    for (const [stream, connection] of this.#watched) {
      const { remotePort } = connection;
      if (remotePort === undefined) continue;
      const others = byPort.get(remotePort);
      if (others === undefined) byPort.set(remotePort, [{ stream, connection }]);
      else others.push({ stream, connection });
    }
    return byPort;
  }

  #drop(stream: Stream, { resends, times }: UnansweredSocket): void {
    log("[SSE] lost client: no answer to %s after %d retransmissions", resends, times);
    const connection = this.#watched.get(stream);
    this.#options.onLost(stream);
    // All other streams of this connection are dead as well.
    connection?.destroy();
  }
}

/** Whether the system closed the connection because the client did not answer. */
export function hasLostPeer(connection: SinkConnection | null | undefined): boolean {
  return UNANSWERED.has(connection?.errored?.code ?? "");
}

function keepAlive(connection: SinkConnection, timeoutMs: number): void {
  const delayMs = Math.min(Math.max(timeoutMs - PROBING_MS, MIN_KEEPALIVE_MS), MAX_KEEPALIVE_MS);
  try {
    connection.setKeepAlive(true, delayMs);
  } catch (error) {
    // The client is still found if sent data stays unanswered.
    log("cannot turn on TCP keepalive: %s", sanitize(error).message);
  }
}

/** Whether the client has answered nothing between two checks. */
function isUnansweredStill(before: UnansweredSocket, now: UnansweredSocket): boolean {
  return (
    now.inode === before.inode &&
    now.resends === before.resends &&
    now.times >= before.times &&
    now.queued >= before.queued
  );
}
