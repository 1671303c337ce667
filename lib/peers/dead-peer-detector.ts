import { monotonicNow, type Clock } from "../clock.js";
import { delay } from "../deadline.js";
import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { placeOf, parseUnanswered, type TcpEnds, type TcpTable, type UnansweredSocket } from "./tcp-table.js";

/** A TCP connection, as `net.Socket` has it. Over HTTP/2 those of several sinks are one. */
export interface SinkConnection extends TcpEnds {
  /** The error that ended the connection. */
  readonly errored?: NodeJS.ErrnoException | null;
  /** Turns TCP keepalive on or off, as `net.Socket` does. */
  setKeepAlive(enable: boolean, initialDelayMs: number): unknown;
  /** Drops it, with all that goes over it. */
  destroy(): unknown;
}

/** Reads a table of the kernel's, in whole lines. May end early once `signal` has fired. */
export type ReadTcpTable = (table: TcpTable, signal: AbortSignal) => AsyncIterable<string>;

export interface DeadPeerDetectorOptions {
  readonly clock: Clock;
  /** For how long a peer may leave unanswered what is sent to it again and again. Infinity: nobody is watched. */
  readonly timeoutMs: number;
  /** `null` where the kernel has no such tables. */
  readonly read: ReadTcpTable | null;
  /** Whether the machine's numbers have their lowest byte first. */
  readonly littleEndian: boolean;
}

/** One connection, with all streams that go over it. */
interface Watched {
  connection: SinkConnection;
  readonly onLost: Set<() => void>;
}

interface Suspicion {
  /** As `monotonicNow()`. */
  readonly since: number;
  /** How often it had been sent again by then. */
  readonly timesBefore: number;
  readonly last: UnansweredSocket;
}

const log = createLog("session");

/** Looks in one timeout. */
const LOOKS = 4;
/** How often to look more than that, where somebody's time is up in between. */
const MAX_LOOKS = 20;
/** What a look takes is at most this part of all time: then the pause is longer, though not than a minute. */
const MAX_SHARE = 1 / 20;
const MAX_PAUSE_MS = 60_000;

/** What TCP keepalive takes after its first probe: libuv has it send ten, a second apart. */
const PROBING_MS = 10_000;
/** TCP counts in seconds. */
const MIN_KEEPALIVE_MS = 1_000;
/** Systems' own default. Linux refuses more than nine hours. */
const MAX_KEEPALIVE_MS = 2 * 60 * 60 * 1_000;

/** Errors with which a system gives up a peer that does not answer. */
const UNANSWERED: ReadonlySet<string> = new Set(["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN"]);

/**
 * Finds peers that have vanished without a word: a radio that is off, a NAT that has forgotten. Writing to them goes
 * on well, since a heartbeat always fits into the kernel's buffer, and Linux gives up after a quarter of an hour.
 *
 * TCP keepalive finds those to whom nothing is under way. It is silent as long as something is, and Node has no
 * TCP_USER_TIMEOUT; so the kernel's tables are read for sockets whose peer has not answered what was sent to it again
 * and again. One that answers, but has no room, is alive: it is the stall's deadline that ends it.
 *
 * A look at 10,000 connections took 60 ms of CPU time, 40 of them in the main thread, in 370 pieces; at 1,000 it was
 * 13 and 9, at 100 less than 5. All sockets of the network namespace count, those in TIME_WAIT too. By default there is
 * one look in 15 s.
 */
export class DeadPeerDetector {
  readonly #options: DeadPeerDetectorOptions;
  readonly #stopping = new AbortController();
  readonly #watched: Readonly<Record<TcpTable, Map<string, Watched>>> = { tcp: new Map(), tcp6: new Map() };
  /** Of those that the last look found unanswered. */
  #suspicions = new Map<Watched, Suspicion>();
  #started = false;

  constructor(options: DeadPeerDetectorOptions) {
    this.#options = options;
  }

  /** Watches over a stream's connection until the answer is called. When its peer is lost, the connection is dropped. */
  add(connection: SinkConnection | null | undefined, onLost: () => void): () => void {
    const { timeoutMs, read, littleEndian } = this.#options;
    if (timeoutMs === Infinity || !connection || this.#stopping.signal.aborted) return () => {};
    keepAlive(connection, timeoutMs);
    const place = read && placeOf(connection, littleEndian);
    if (place === null) return () => {};
    const watched = this.#watched[place.table].get(place.ends) ?? { connection, onLost: new Set() };
    this.#watched[place.table].set(place.ends, watched);
    watched.connection = connection;
    watched.onLost.add(onLost);
    this.#start();
    return () => {
      watched.onLost.delete(onLost);
      if (watched.onLost.size > 0) return;
      this.#suspicions.delete(watched);
      if (this.#watched[place.table].get(place.ends) === watched)
        this.#watched[place.table].delete(place.ends);
    };
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
    let lookedAt = monotonicNow(clock);
    for (;;) {
      const shortestMs = Math.max(timeoutMs / MAX_LOOKS, Math.min(tookMs / MAX_SHARE, MAX_PAUSE_MS));
      const periodMs = Math.max(timeoutMs / LOOKS, shortestMs);
      // Processes that were started together do not look together.
      const pauseMs = Math.min(periodMs * (0.75 + 0.5 * Math.random()), this.#untilDueMs(lookedAt));
      await delay(clock, Math.max(shortestMs, pauseMs), signal);
      if (signal.aborted) return;
      // This process or its machine has slept: what happened meanwhile is not known.
      const beganAt = monotonicNow(clock);
      if (beganAt - lookedAt > 2 * periodMs) this.#suspicions.clear();
      // Without a deadline: nobody waits for it but the next look, and that has nothing to read either.
      await this.#look();
      lookedAt = monotonicNow(clock);
      tookMs = lookedAt - beganAt;
    }
  }

  /** When the time of the next one is up. */
  #untilDueMs(now: number): number {
    const { timeoutMs } = this.#options;
    const due = Array.from(this.#suspicions.values(), ({ since }) => since + timeoutMs - now);
    return due.reduce((least, each) => (each > 0 ? Math.min(least, each) : least), Infinity);
  }

  async #look(): Promise<void> {
    const { clock, timeoutMs } = this.#options;
    const before = this.#suspicions;
    const now = monotonicNow(clock);
    this.#suspicions = new Map();
    try {
      for (const [watched, found] of await this.#findUnanswered()) {
        // Its streams may have ended while this was read.
        if (watched.onLost.size === 0) continue;
        const known = before.get(watched);
        const goesOn = known !== undefined && isUnansweredStill(known.last, found);
        const suspicion = goesOn
          ? { ...known, last: found }
          : { since: monotonicNow(clock), timesBefore: found.times, last: found };
        // One time more at least: a peer that answers now and then is there, on a bad line.
        if (now - suspicion.since >= timeoutMs && found.times > suspicion.timesBefore) {
          this.#drop(watched, found);
        } else {
          this.#suspicions.set(watched, suspicion);
        }
      }
    } catch (error) {
      // What was not seen is not known, and nobody is dropped for it.
      log("cannot look for lost peers: %s", sanitize(error).message);
    }
  }

  async #findUnanswered(): Promise<ReadonlyMap<Watched, UnansweredSocket>> {
    const { read } = this.#options;
    const { signal } = this.#stopping;
    const found = new Map<Watched, UnansweredSocket>();
    for (const [table, connections] of Object.entries(this.#watched) as [TcpTable, Map<string, Watched>][]) {
      if (connections.size === 0) continue;
      for await (const lines of read!(table, signal)) {
        if (signal.aborted) return new Map();
        for (const socket of parseUnanswered(lines)) {
          const watched = connections.get(socket.ends);
          if (watched !== undefined) found.set(watched, socket);
        }
      }
    }
    return found;
  }

  #drop({ connection, onLost }: Watched, { resends, times }: UnansweredSocket): void {
    log("[SSE] a peer is lost: no answer to %s that was sent again %d times", resends, times);
    for (const lost of onLost) lost();
    // Whatever else goes over it is lost as well.
    connection.destroy();
  }
}

/** Whether the system has given up a connection since its peer did not answer. */
export function hasLostPeer(connection: SinkConnection | null | undefined): boolean {
  return UNANSWERED.has(connection?.errored?.code ?? "");
}

function keepAlive(connection: SinkConnection, timeoutMs: number): void {
  const delayMs = Math.min(Math.max(timeoutMs - PROBING_MS, MIN_KEEPALIVE_MS), MAX_KEEPALIVE_MS);
  try {
    connection.setKeepAlive(true, delayMs);
  } catch (error) {
    // Only this one is found later.
    log("no keepalive: %s", sanitize(error).message);
  }
}

/** Whether a peer has answered nothing between two looks. */
function isUnansweredStill(before: UnansweredSocket, now: UnansweredSocket): boolean {
  return (
    now.inode === before.inode &&
    now.resends === before.resends &&
    now.times >= before.times &&
    now.queued >= before.queued
  );
}
