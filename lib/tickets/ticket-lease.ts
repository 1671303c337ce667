import { monotonicNow, type Clock } from "../clock.js";
import type { CloseReason } from "../catalogue/close-reasons.js";
import { RedisSseError } from "../errors.js";
import type { StreamLease } from "../sessions/stream-lease.js";
import { EXTEND_PERIOD_MS, type OpenTickets } from "./open-tickets.js";
import { hashOf, newSecret, type TicketStore } from "./ticket-store.js";

export interface TicketLeaseOptions {
  readonly store: TicketStore;
  readonly open: OpenTickets;
  readonly clock: Clock;
  readonly key: string;
  /** The token of the client that has used the ticket before. `null`: the ticket is unused. */
  readonly token: string | null;
  /** When an unused ticket expires, as `monotonicNow()`. */
  readonly unusedUntil: number;
  readonly reconnectMs: number;
}

/** After these reasons, the ticket is deleted, because the client may not open the stream again. */
const LAST: ReadonlySet<CloseReason> = new Set(["revoked", "authorization-expired"] as const);

/** The ticket of one stream. Its fields are private, so that an application that logs the resolver's answer logs no token. */
export class TicketLease implements StreamLease {
  readonly #options: TicketLeaseOptions;
  readonly #token: string;
  /** Identifies this stream in Redis. Only the newest stream of the client may change the ticket. */
  readonly #stream = newSecret();
  #taking: Promise<boolean> | null = null;
  #hasEnded = false;

  constructor(options: TicketLeaseOptions) {
    this.#options = options;
    this.#token = options.token ?? newSecret();
  }

  get token(): string {
    return this.#token;
  }

  async take(): Promise<void> {
    const { store, open, key } = this.#options;
    this.#taking = store.redeem(key, hashOf(this.#token), this.#stream, this.#openMs);
    if (!(await this.#taking)) throw ticketInvalid();
    if (!this.#hasEnded) open.add(this);
  }

  end(reason: CloseReason, wasOpen: boolean): void {
    const { open, reconnectMs, token } = this.#options;
    this.#hasEnded = true;
    open.delete(this);
    if (this.#taking === null) return;
    // If the stream never opened, the client has no token. So the ticket must become unused again.
    const isUnused = !wasOpen && token === null;
    const ttlMs = LAST.has(reason) ? 0 : isUnused ? this.#unusedMs : reconnectMs;
    open.track(this.#release(this.#taking, ttlMs, isUnused));
  }

  /** Extends the ticket while the stream is open. */
  async extend(): Promise<void> {
    const { store, open, key } = this.#options;
    const isOurs = await store.extend(key, this.#stream, this.#openMs);
    if (!isOurs) open.delete(this);
  }

  /**
   * Waits for the redeem script first. If Redis has forgotten a script, ioredis must send it again, and a later script can
   * overtake it.
   */
  async #release(taking: Promise<boolean>, ttlMs: number, isUnused: boolean): Promise<void> {
    const isTaken = await taking.catch(() => true);
    if (isTaken) await this.#options.store.release(this.#options.key, this.#stream, ttlMs, isUnused);
  }

  /** Longer than the period of extensions, so that the client has at least `reconnectMs` if the process crashes. */
  get #openMs(): number {
    return this.#options.reconnectMs + EXTEND_PERIOD_MS;
  }

  get #unusedMs(): number {
    const { unusedUntil, clock } = this.#options;
    return Math.max(0, Math.floor(unusedUntil - monotonicNow(clock)));
  }
}

/** The error is the same for every cause, so that a client cannot find out which tickets exist. */
export function ticketInvalid(): RedisSseError {
  return new RedisSseError(
    "TICKET_INVALID",
    "The ticket is missing, unknown, expired or used. Get a new ticket, and open a new stream with it.",
  );
}
