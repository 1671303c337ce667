import { monotonicNow, type Clock } from "../clock.js";
import type { CloseReason } from "../catalogue/close-reasons.js";
import { RedisSseError } from "../errors.js";
import type { TicketedStream, StreamTicket } from "../sessions/stream-ticket.js";
import { EXTEND_PERIOD_MS, type OpenTickets } from "./open-tickets.js";
import { hashOf, newSecret, type TicketStore } from "./ticket-store.js";

/** The revocations that tickets are compared with. */
export interface TicketRevocations {
  /** Reads all revocations that are stored now. Rejects with a Redis error or `CLOSED`. */
  refresh(): Promise<void>;
  /** The id of the newest known revocation; 0 without revocations. */
  readonly newest: number;
  /** Whether one of these keys or channels was revoked after the revocation with this id. */
  isRevokedAfter(id: number, keys: readonly string[], channels: readonly string[]): boolean;
}

export interface StoredTicketOptions {
  readonly store: TicketStore;
  readonly open: OpenTickets;
  readonly clock: Clock;
  readonly key: string;
  /** The token of the client that has used the ticket before. `null`: the ticket is unused. */
  readonly token: string | null;
  /** When the ticket was read, as `monotonicNow()`. */
  readonly decidedAt: number;
  /** When an unused ticket expires, as `monotonicNow()`. */
  readonly unusedUntil: number;
  readonly reconnectMs: number;
  readonly revocations: TicketRevocations;
  /** The rights of the ticket. */
  readonly rights: TicketedStream;
  /** The id of the newest revocation that was compared with the ticket. */
  readonly revocation: number;
}

/** After these reasons, the ticket is deleted, because the client may not open the stream again. */
const LAST: ReadonlySet<CloseReason> = new Set(["revoked", "authorization-expired"] as const);

/** The ticket of one stream. Its fields are private, so that an application that logs the resolver's answer logs no token. */
export class StoredTicket implements StreamTicket {
  readonly #options: StoredTicketOptions;
  readonly #token: string;
  /** Identifies this stream in Redis. Only the newest stream of the client may change the ticket. */
  readonly #stream = newSecret();
  /** The keys and the channels whose revocation makes the ticket invalid: those of the ticket and of its stream. */
  #keys: readonly string[] = [];
  #channels: readonly string[] = [];
  #revocation: number;
  #taking: Promise<boolean> | null = null;
  #hasEnded = false;

  constructor(options: StoredTicketOptions) {
    this.#options = options;
    this.#token = options.token ?? newSecret();
    this.#revocation = options.revocation;
  }

  get token(): string {
    return this.#token;
  }

  get decidedAt(): number {
    return this.#options.decidedAt;
  }

  /** The stream can have another key than its ticket, for example `key` of the mount. */
  async take(given: TicketedStream): Promise<void> {
    const { store, open, key, rights } = this.#options;
    this.#keys = [...new Set([...listOf(rights.key), ...listOf(given.key)])];
    this.#channels = [...new Set([...rights.channels, ...given.channels])];
    const revocation = this.#compare();
    if (revocation === null) throw ticketInvalid();
    const redemption = { tokenHash: hashOf(this.#token), stream: this.#stream, revocation };
    this.#taking = store.redeem(key, redemption, this.#openMs);
    this.#revocation = revocation;
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
    // A revoked stream ends soon. Until then, its ticket must stay invalid.
    const revocation = this.#compare() ?? this.#revocation;
    const isNew = revocation !== this.#revocation;
    const isOurs = await store.extend(key, this.#stream, this.#openMs, isNew ? revocation : null);
    this.#revocation = revocation;
    if (!isOurs) open.delete(this);
  }

  /** Compares the ticket with all known revocations. Returns the id of the newest one; `null` if the ticket was revoked. */
  #compare(): number | null {
    const { revocations } = this.#options;
    const isRevoked = revocations.isRevokedAfter(this.#revocation, this.#keys, this.#channels);
    return isRevoked ? null : revocations.newest;
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

/** The key as a list; an empty list without a key. */
export function listOf(key: string | undefined): readonly string[] {
  return key === undefined ? [] : [key];
}
