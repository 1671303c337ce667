import { setMaxListeners } from "node:events";

import { monotonicNow, type Clock } from "../clock.js";
import { delay } from "../deadline.js";
import { isLossMark } from "../entry-id.js";
import { sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import { haveOtherStamps, type Position } from "../sse/event-id.js";
import type { HistoryPort, LogPage } from "./history-port.js";
import { CONFIRM_MS } from "./replay.js";
import type { Suspicion, LogHead } from "./log-head.js";

/** A subscribed channel, and what is known about its history. */
export interface WatchedLog {
  readonly channel: string;
  readonly log: LogHead;
  /** Called when the history has events that did not arrive. */
  missed(): void;
  /** Called when the history has lost the events after `to` (`null` if unknown), and other events have their offsets. */
  rolledBack(to: Position | null): void;
}

export interface LogVerifierOptions {
  readonly history: HistoryPort;
  readonly clock: Clock;
  readonly periodMs: number;
  /** How long an event of the history may take to arrive. */
  readonly graceMs: number;
  readonly logs: () => Iterable<WatchedLog>;
}

interface Suspect {
  readonly watched: WatchedLog;
  readonly found: Position;
}

const log = createLog("history");

/**
 * The interval of reads for channels whose histories may start without a message. Such a channel belongs to a task that was
 * enqueued on another cluster node, or by a program that may not call `PUBSUB NUMSUB`.
 */
const SILENT_MS = 2_000;

/** The most reads at the same time. */
const MAX_BATCH = 256;

/**
 * Compares the history of each channel with the events that arrived, at regular intervals. Redis can lose a message without
 * losing the connection, for example because of a proxy or a failover. A history can also be lost while no events arrive.
 * Without this check, only the next event would show it.
 *
 * The reads have other effects too. They renew the expiry of a quiet history while it has clients, find writers whose
 * process crashed, and record that a history does not exist yet.
 */
export class LogVerifier {
  readonly #options: LogVerifierOptions;
  readonly #stopping = stoppableByMany();
  /**
   * Histories that are being verified, and the newest suspicion since then. All events after a loss cause the same suspicion.
   */
  readonly #verifying = new Map<LogHead, Suspicion | null>();
  #started = false;

  constructor(options: LogVerifierOptions) {
    this.#options = options;
  }

  /** Starts the checks. Later calls do nothing. */
  start(): void {
    if (this.#started || this.#stopping.signal.aborted) return;
    this.#started = true;
    void this.#run();
  }

  /** Checks at once whether a history has lost events, after an event has caused a suspicion. If so, calls `rolledBack()`. */
  async verify(watched: WatchedLog, suspicion: Suspicion): Promise<void> {
    if (this.#verifying.has(watched.log)) {
      this.#verifying.set(watched.log, suspicion);
      return;
    }
    this.#verifying.set(watched.log, null);
    try {
      await this.#verify(watched, suspicion);
    } catch (error) {
      log("cannot check the history of %s: %s", printable(watched.channel), sanitize(error).message);
    }
    const next = this.#verifying.get(watched.log);
    this.#verifying.delete(watched.log);
    if (next && !this.#stopping.signal.aborted) await this.verify(watched, next);
  }

  async #verify({ channel, log: known, ...watched }: WatchedLog, { to }: Suspicion): Promise<void> {
    const { history } = this.#options;
    const { newest: before } = known;
    if (before === null) return;
    const look = (): Promise<LogPage> => history.read(channel, before, { since: history.now(), top: null });
    const isLost = ({ position: found, previousStamp }: LogPage): boolean =>
      found.epoch === before.epoch &&
      (found.offset < before.offset ||
        (haveOtherStamps(previousStamp, before.stamp) && !isLossMark(previousStamp)));
    let page = await look();
    if (isLost(page)) {
      await delay(this.#options.clock, CONFIRM_MS, this.#stopping.signal);
      page = await look();
    }
    if (this.#stopping.signal.aborted) return;
    // If an event arrived after a missing offset, another program may have invented its position. This read shows it.
    known.note(page);
    const { newest: after } = known;
    const found = page.position;
    const isShorter = [before, after].every(
      (newest) => newest?.epoch === found.epoch && found.offset < newest.offset,
    );
    const isReplaced = isLost(page) && found.offset >= before.offset;
    if (!isShorter && !isReplaced) return known.disproved(found);
    history.forget(channel);
    watched.rolledBack(to);
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #run(): Promise<void> {
    const { clock, periodMs } = this.#options;
    const { signal } = this.#stopping;
    let nextAt = monotonicNow(clock);
    for (;;) {
      const now = monotonicNow(clock);
      if (now >= nextAt) {
        // The interval is random, so that processes that started together do not read at the same time.
        nextAt = now + periodMs * (0.75 + 0.5 * Math.random());
      }
      await delay(clock, Math.min(SILENT_MS, nextAt - now), signal);
      if (signal.aborted) return;
      await this.#look(monotonicNow(clock) < nextAt);
    }
  }

  /** With `onlySilent`, reads only histories that may start without a message and do not exist yet. */
  async #look(onlySilent: boolean): Promise<void> {
    const { history, clock, graceMs, logs } = this.#options;
    const { signal } = this.#stopping;
    const watched = Array.from(logs()).filter(({ channel, log: known }) => {
      if (!history.keeps(channel)) return false;
      return !onlySilent || (known.newest?.epoch === "" && history.beginsSilently(channel));
    });
    const suspects: Suspect[] = [];
    for (let start = 0; start < watched.length && !signal.aborted; start += MAX_BATCH) {
      const batch = watched.slice(start, start + MAX_BATCH);
      const found = await Promise.all(batch.map((each) => this.#lookAt(each)));
      suspects.push(...found.filter((suspect) => suspect !== null));
    }
    if (suspects.length === 0) return;
    // The message may still arrive.
    await delay(clock, graceMs, signal);
    if (signal.aborted) return;
    for (const { watched, found } of suspects) {
      if (!isMissing(watched.log, found)) continue;
      log("the history of %s has events that did not arrive", printable(watched.channel));
      watched.missed();
    }
  }

  async #lookAt(watched: WatchedLog): Promise<Suspect | null> {
    const { history } = this.#options;
    const { channel, log: known } = watched;
    try {
      const { newest: before } = known;
      const found = await history.tail(channel, history.now());
      if (before?.epoch === found.position.epoch && found.position.offset < before.offset) {
        log("the history of %s seems to have lost its newest events", printable(channel));
        void this.verify(watched, { to: null });
        return null;
      }
      if (isMissing(known, found.position)) return { watched, found: found.position };
      // The channel may have ended without an event.
      if (found.ending !== null && known.tail?.ending === null) watched.missed();
      known.note(found);
      return null;
    } catch (error) {
      log("cannot check the history of %s: %s", printable(channel), sanitize(error).message);
      return null;
    }
  }
}

/** Whether the last event that arrived is older than the found one, or is a different event at the same offset. */
function isMissing({ reached }: LogHead, found: Position): boolean {
  if (reached === null) return false;
  const isReplaced = reached.offset === found.offset && haveOtherStamps(reached.stamp, found.stamp);
  return reached.epoch !== found.epoch || reached.offset < found.offset || isReplaced;
}

/** Allows many listeners on the signal, because many channels can wait at the same time after a failover. */
function stoppableByMany(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
