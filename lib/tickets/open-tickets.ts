import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import type { Slices, Work } from "../slices.js";

/** Time between two extensions of the ticket of an open stream. */
export const EXTEND_PERIOD_MS = 10_000;

const CLOSE_TIMEOUT_MS = 1_000;

const log = createLog("tickets");

export interface OpenTicket {
  extend(): Promise<void>;
}

/** Extends the tickets of all open streams with one timer. The timer runs only while there are such streams. */
export class OpenTickets {
  readonly #clock: Clock;
  readonly #slices: Slices;
  readonly #tickets = new Set<OpenTicket>();
  /** Releases that Redis has not acknowledged yet. */
  readonly #releases = new Set<Promise<void>>();
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, slices: Slices) {
    this.#clock = clock;
    this.#slices = slices;
  }

  add(ticket: OpenTicket): void {
    this.#tickets.add(ticket);
    this.#cancel ??= this.#schedule();
  }

  /** Does nothing if the ticket was not added. */
  delete(ticket: OpenTicket): void {
    if (!this.#tickets.delete(ticket) || this.#tickets.size > 0) return;
    this.#cancel?.();
    this.#cancel = null;
  }

  /** Makes `close()` wait for a release. If Redis does not get it, the ticket expires by itself. */
  track(release: Promise<void>): void {
    const settled = release.catch(logFault).finally(() => this.#releases.delete(settled));
    this.#releases.add(settled);
  }

  /** Waits until Redis has all releases, with a deadline. Call it when all streams are closed. Never rejects. */
  async close(): Promise<void> {
    if (this.#releases.size === 0) return;
    const released = Promise.all(this.#releases);
    const deadline = { clock: this.#clock, timeoutMs: CLOSE_TIMEOUT_MS, what: "the release of tickets" };
    await withDeadline(released, deadline).catch(logFault);
  }

  #schedule(): () => void {
    return this.#clock.schedule(() => {
      this.#cancel = this.#schedule();
      this.#slices.add(this.#extendEach());
    }, EXTEND_PERIOD_MS);
  }

  /** Redis gets the commands of one slice with one write. */
  *#extendEach(): Work {
    for (const ticket of Array.from(this.#tickets)) {
      if (!this.#tickets.has(ticket)) continue;
      ticket.extend().catch(logFault);
      if (this.#slices.isOver()) yield;
    }
  }
}

function logFault(error: unknown): void {
  log("Redis did not get the new expiry of a ticket: %s", sanitize(error).message);
}
