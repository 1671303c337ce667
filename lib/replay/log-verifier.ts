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

/** A subscribed channel, with what is known of its log. */
export interface WatchedLog {
  readonly channel: string;
  readonly log: LogHead;
  /** The log has events that never arrived. */
  missed(): void;
  /** The log has lost the events after `to` (`null`: not known), and other events have their offsets. */
  rolledBack(to: Position | null): void;
}

export interface LogVerifierOptions {
  readonly history: HistoryPort;
  readonly clock: Clock;
  readonly periodMs: number;
  /** How long an event may take from the log to here. */
  readonly graceMs: number;
  readonly logs: () => Iterable<WatchedLog>;
}

interface Suspect {
  readonly watched: WatchedLog;
  readonly found: Position;
}

const log = createLog("history");

/**
 * How often to read channels whose logs may start without a message. Such a channel belongs to a task that was enqueued on
 * another node of a cluster, or by a program that may not call `PUBSUB NUMSUB`.
 */
const SILENT_MS = 2_000;

/** Reads at the same time. */
const MAX_BATCH = 256;

/**
 * Compares, from time to time, each channel's log with the events that were heard. Redis can lose a message and keep the
 * connection (because of a proxy or a failover), and a log can be lost while no events come. Without this check, only
 * the next event would show it. The reads also renew the expiry of quiet logs while a client listens, find writers whose
 * process died, and record that a channel still has no log.
 */
export class LogVerifier {
  readonly #options: LogVerifierOptions;
  readonly #stopping = stoppableByMany();
  /** Logs that are being verified, and the latest suspicion since then: all events after a lost one raise the same suspicion. */
  readonly #verifying = new Map<LogHead, Suspicion | null>();
  #started = false;

  constructor(options: LogVerifierOptions) {
    this.#options = options;
  }

  /** Begins, once. */
  start(): void {
    if (this.#started || this.#stopping.signal.aborted) return;
    this.#started = true;
    void this.#run();
  }

  /** Reads at once whether a log has lost events, because an event suggests it. If so, calls `rolledBack()`. */
  async verify(watched: WatchedLog, suspicion: Suspicion): Promise<void> {
    if (this.#verifying.has(watched.log)) {
      this.#verifying.set(watched.log, suspicion);
      return;
    }
    this.#verifying.set(watched.log, null);
    try {
      await this.#verify(watched, suspicion);
    } catch (error) {
      log("cannot look at %s: %s", printable(watched.channel), sanitize(error).message);
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
    // An event that was heard after a missing offset may have a made-up place, which was never in the log. This read shows it.
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
        // Processes that started together do not read together.
        nextAt = now + periodMs * (0.75 + 0.5 * Math.random());
      }
      await delay(clock, Math.min(SILENT_MS, nextAt - now), signal);
      if (signal.aborted) return;
      await this.#look(monotonicNow(clock) < nextAt);
    }
  }

  /** `onlySilent`: reads only channels whose logs may start without a message, and have not started. */
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
      log("%s has events that never came", printable(watched.channel));
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
        log("%s has lost its newest events, it seems", printable(channel));
        void this.verify(watched, { to: null });
        return null;
      }
      if (isMissing(known, found.position)) return { watched, found: found.position };
      // The end may be in the hash alone.
      if (found.ending !== null && known.tail?.ending === null) watched.missed();
      known.note(found);
      return null;
    } catch (error) {
      log("cannot look at %s: %s", printable(channel), sanitize(error).message);
      return null;
    }
  }
}

/** Whether the last event that was heard is older than the found one, or is another event at the same offset. */
function isMissing({ reached }: LogHead, found: Position): boolean {
  if (reached === null) return false;
  const isReplaced = reached.offset === found.offset && haveOtherStamps(reached.stamp, found.stamp);
  return reached.epoch !== found.epoch || reached.offset < found.offset || isReplaced;
}

/** A failover concerns many channels at once, and each of them waits for the same signal. */
function stoppableByMany(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
