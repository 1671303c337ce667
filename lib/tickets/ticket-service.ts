import { monotonicNow, type Clock } from "../clock.js";
import { RedisSseError } from "../errors.js";
import type { ChannelSelection } from "../events/channel-name.js";
import type { RedisClient } from "../redis/client.js";
import type { SessionKey } from "../sessions/sink.js";
import type { StreamAccess } from "../sessions/stream-access.js";
import { STREAM_TICKET } from "../sessions/stream-ticket.js";
import { readExpiry, readKey } from "../sessions/stream-options.js";
import type { Slices } from "../slices.js";
import { splitToken, ticketTokenOf } from "../sse/event-id.js";
import { assertOptions, readWholeNumber } from "../validate.js";
import { OpenTickets } from "./open-tickets.js";
import { listOf, StoredTicket, ticketInvalid, type TicketRevocations } from "./stored-ticket.js";
import { hashOf, isSecret, newSecret, TicketStore } from "./ticket-store.js";

/** Options of `TicketService.issue()`. */
export interface TicketOptions {
  /** The channels that the client may read. */
  readonly channels: ChannelSelection;
  /**
   * Identifies the caller, for example by a user's id.
   *
   * @defaultValue `key` of the mount
   */
  readonly key?: SessionKey;
  /**
   * When the right to the stream ends, as a `Date` or in milliseconds since 1970.
   *
   * @see `StreamAccess.expiresAt`
   * @defaultValue the right does not end
   */
  readonly expiresAt?: Date | number | null | undefined;
  /**
   * Milliseconds for which the unused ticket is valid: 1,000 to 86,400,000 (24 hours).
   *
   * @defaultValue 30_000
   */
  readonly ttlMs?: number | undefined;
}

/** Options of `TicketService.access()`. */
export interface TicketAccessOptions {
  /**
   * The header `Last-Event-ID` of the request.
   *
   * Do not pass an id from the URL, because the logs of proxies contain URLs.
   */
  readonly lastEventId?: string | undefined;
  /**
   * Milliseconds for which the client can reconnect after its stream has ended: 1,000 to 86,400,000 (24 hours).
   *
   * @defaultValue 60_000
   */
  readonly reconnectMs?: number | undefined;
}

export interface TicketDependencies {
  readonly commands: () => RedisClient;
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly slices: Slices;
  /** Returns the names of the channels. Throws if a stream cannot have them. */
  readonly readChannels: (selection: ChannelSelection) => readonly string[];
  readonly revocations: TicketRevocations;
  /** See `NewStreamCheck.isRevokedSince()`. */
  readonly isRevokedSince: (at: number, key: string | undefined, channels: readonly string[]) => boolean;
}

const ISSUE_OPTIONS: ReadonlySet<string> = new Set<keyof TicketOptions>([
  "channels",
  "key",
  "expiresAt",
  "ttlMs",
]);
const ACCESS_OPTIONS: ReadonlySet<string> = new Set<keyof TicketAccessOptions>([
  "lastEventId",
  "reconnectMs",
]);
/**
 * The time of a revocation is known to within the time of a reply. Without the tolerance, a ticket that is issued directly after
 * `revoke()` would be refused.
 */
const TOLERANCE_MS = 50;
const MIN_MS = 1_000;
const MAX_MS = 24 * 3_600_000;

/** Issues tickets. A ticket opens a stream for one client that cannot send a cookie or a header. */
export class TicketService {
  readonly #deps: TicketDependencies;
  readonly #store: TicketStore;
  readonly #open: OpenTickets;

  /** Use `createRedisSse()` instead. @hidden */
  constructor(deps: TicketDependencies) {
    this.#deps = deps;
    this.#store = new TicketStore(deps.commands, deps.keyPrefix);
    this.#open = new OpenTickets(deps.clock, deps.slices);
  }

  /**
   * Issues a ticket for one client.
   *
   * Resolves to the ticket: 43 random characters of A-Z a-z 0-9 _ -. Redis stores only its hash.
   *
   * Rejects with `INVALID_CHANNEL`, `FORBIDDEN`, `LIMIT_CHANNELS`, `CONFIG`, `UNAUTHORIZED` if `expiresAt` has passed, `CLOSED` if
   * the right was revoked during the call, or a Redis error.
   *
   * A later `revoke()` of its key or of one of its channels makes the ticket invalid.
   *
   * @example
   * const ticket = await sse.tickets.issue({ channels: `user:${user.id}`, key: user.id });
   */
  async issue(options: TicketOptions): Promise<string> {
    assertOptions("issue()", options, ISSUE_OPTIONS);
    const { ttlMs = 30_000 } = options;
    readWholeNumber("ttlMs", ttlMs, MIN_MS, MAX_MS);
    const channels = this.#deps.readChannels(options.channels);
    const key = readKey(options.key);
    const expiresAt = readExpiry(options.expiresAt);
    if (expiresAt <= this.#deps.clock.now()) {
      throw new RedisSseError(
        "UNAUTHORIZED",
        "The right of this ticket has expired. Pass a later expiresAt.",
      );
    }
    const ticket = newSecret();
    // JSON has no Infinity.
    const rights: Rights = { channels, key, expiresAt: expiresAt === Infinity ? undefined : expiresAt };
    const { clock, revocations } = this.#deps;
    const calledAt = monotonicNow(clock);
    await revocations.refresh();
    // If the call had to wait for Redis, the read returns later revocations too.
    if (this.#deps.isRevokedSince(calledAt + TOLERANCE_MS, key, channels)) {
      throw new RedisSseError("CLOSED", "The right was revoked while its ticket was issued.");
    }
    await this.#store.issue(this.#store.keyOf(ticket), JSON.stringify(rights), revocations.newest, ttlMs);
    return ticket;
  }

  /**
   * Returns the rights of a ticket. Call it in a resolver. `ticketResolver()` of `redis-sse/express` calls it for you.
   *
   * The returned object also contains the ticket, in a hidden property. Return this object from the resolver, or a copy:
   * `{ ...access, key }`. The stream then uses the ticket. If the stream does not open, the ticket stays unused.
   *
   * Rejects with `TICKET_INVALID` if the ticket is malformed, unknown, expired, revoked, or used by another client, and with
   * `CONFIG` or a Redis error.
   */
  async access(ticket: string | undefined, options: TicketAccessOptions = {}): Promise<StreamAccess> {
    assertOptions("access()", options, ACCESS_OPTIONS);
    const reconnectMs = readReconnectMs(options.reconnectMs);
    if (!isSecret(ticket)) throw ticketInvalid();
    const { clock, revocations } = this.#deps;
    const now = monotonicNow(clock);
    const key = this.#store.keyOf(ticket);
    const [stored] = await Promise.all([this.#store.read(key), revocations.refresh()]);
    const rights = stored && parseRights(stored.rights);
    if (rights === null) throw ticketInvalid();
    const { tokenHash, leftMs, revocation } = stored!;
    // Another process has compared the ticket with a revocation that was stored after this process had read.
    if (revocation > revocations.newest) await revocations.refresh();
    const token = tokenHash === null ? null : readToken(options.lastEventId);
    if (token !== null && hashOf(token) !== tokenHash) throw ticketInvalid();
    if (revocations.isRevokedAfter(revocation, listOf(rights.key), rights.channels)) throw ticketInvalid();
    const taken = new StoredTicket({
      store: this.#store,
      open: this.#open,
      clock,
      key,
      token,
      decidedAt: now,
      unusedUntil: now + leftMs,
      reconnectMs,
      revocations,
      rights,
      revocation,
    });
    return { ...rights, [STREAM_TICKET]: taken } as StreamAccess;
  }

  /** Waits until Redis has the new state of all tickets. The service calls it after all streams are closed. @internal */
  close(): Promise<void> {
    return this.#open.close();
  }
}

/** Returns `reconnectMs` or its default. Throws `ConfigError` if it is invalid. */
export function readReconnectMs(reconnectMs: number = 60_000): number {
  return readWholeNumber("reconnectMs", reconnectMs, MIN_MS, MAX_MS);
}

/** Returns the token of the client. Throws `TICKET_INVALID` if it sent none. */
function readToken(lastEventId: string | undefined): string {
  const { token = "" } = splitToken(lastEventId ?? "");
  const secret = ticketTokenOf(token);
  if (!isSecret(secret)) throw ticketInvalid();
  return secret;
}

interface Rights {
  readonly channels: readonly string[];
  readonly key: string | undefined;
  /** Milliseconds since 1970. `undefined`: the right does not end. */
  readonly expiresAt: number | undefined;
}

/** Returns `null` if another program wrote the rights. The stream checks the names of the channels. */
function parseRights(json: string): Rights | null {
  try {
    const { channels, key, expiresAt } = JSON.parse(json) as Rights;
    const isRights = Array.isArray(channels) && isOptional("string", key) && isOptional("number", expiresAt);
    return isRights ? { channels, key, expiresAt } : null;
  } catch {
    return null;
  }
}

function isOptional(type: "string" | "number", value: unknown): boolean {
  return value === undefined || typeof value === type;
}
