import { monotonicNow, type Clock } from "../clock.js";
import type { CloseReason } from "../catalogue/close-reasons.js";
import { RedisSseError } from "../errors.js";
import type { Slices, Work } from "../slices.js";
import type { OnLimit } from "../sse/http-answer.js";
import type { PubSubSession } from "./session.js";

export interface RegistryLimits {
  readonly maxSessions: number;
  readonly maxSessionsPerKey: number;
}

/** Counts of the sessions of a service. */
export interface RegistryStatistics {
  /** Sessions that are not yet closed. */
  readonly open: number;
  /** Sessions created so far. */
  readonly opened: number;
  /** Closed sessions, by reason. It has only reasons that have occurred. */
  readonly closed: Readonly<Partial<Record<CloseReason, number>>>;
  /** Requests that were refused before they had a session, by error code. */
  readonly refused: Readonly<Record<string, number>>;
}

/** The streams that a revocation ends. */
export interface RevocationScope {
  readonly kind: "key" | "session" | "channel";
  readonly value: string;
}

/** The sessions of one key. */
interface KeyedSessions {
  /** The sessions that are not closing, the oldest first. */
  readonly open: Set<PubSubSession>;
  /** Number of sessions that are closing. */
  closing: number;
}

export interface CloseAllOptions {
  readonly clock: Clock;
  readonly slices: Slices;
  /** The time between the first and the last session. */
  readonly spreadMs: number;
  /** When it fires, all remaining sessions close without further delay. */
  readonly hurry?: AbortSignal;
}

/** Keeps all open sessions, the number of sessions per key, and the reasons why sessions ended. */
export class SessionRegistry {
  readonly #limits: RegistryLimits;
  readonly #sessions = new Map<PubSubSession, string | undefined>();
  readonly #perKey = new Map<string, KeyedSessions>();
  readonly #byId = new Map<string, PubSubSession>();
  readonly #closed = new Map<CloseReason, number>();
  readonly #refused = new Map<string, number>();
  #opened = 0;

  constructor(limits: RegistryLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** The channels of all sessions, each once. */
  get channels(): readonly string[] {
    const channels = new Set<string>();
    for (const session of this.#sessions.keys())
      for (const channel of session.channels) channels.add(channel);
    return [...channels];
  }

  /** The channels that Redis has acknowledged to a session, each once. */
  get acknowledgedChannels(): readonly string[] {
    const channels = new Set<string>();
    for (const session of this.#sessions.keys())
      for (const channel of session.acknowledgedChannels) channels.add(channel);
    return [...channels];
  }

  /** The error for a new session if all sessions together are at their limit; otherwise `null`. */
  get fullFault(): RedisSseError | null {
    const { maxSessions } = this.#limits;
    if (this.#sessions.size < maxSessions) return null;
    return new RedisSseError("LIMIT_SESSIONS", `Too many streams: the limit of ${maxSessions} is reached`);
  }

  /** Throws if one more session would exceed a limit. */
  assertRoom(key: string | undefined, onLimit: OnLimit | undefined): void {
    const { fullFault } = this;
    if (fullFault !== null) throw fullFault;
    const { maxSessionsPerKey } = this.#limits;
    const group = key === undefined ? undefined : this.#perKey.get(key);
    if (group === undefined) return;
    // An evicted stream needs time to close. A key can have at most twice the limit at a time.
    const max = onLimit === "evict-oldest" ? 2 * maxSessionsPerKey : maxSessionsPerKey;
    if (group.open.size + group.closing >= max) {
      throw new RedisSseError(
        "LIMIT_SESSIONS_PER_KEY",
        `Too many streams: this key can have at most ${maxSessionsPerKey} at a time`,
      );
    }
  }

  /**
   * Counts a session. If its key now has more open sessions than the limit, evicts the oldest. `assertRoom()` allows
   * that only with "evict-oldest".
   */
  add(session: PubSubSession, key: string | undefined): void {
    this.#opened++;
    this.#sessions.set(session, key);
    this.#byId.set(session.id, session);
    if (key === undefined) return;
    let group = this.#perKey.get(key);
    if (group === undefined) this.#perKey.set(key, (group = { open: new Set(), closing: 0 }));
    group.open.add(session);
    if (group.open.size <= this.#limits.maxSessionsPerKey) return;
    const [oldest] = group.open;
    oldest!.evict();
  }

  /** The streams that are not closing, and whose rights were decided until `until` (`monotonicNow()`). */
  findRevoked(target: RevocationScope, until: number): readonly PubSubSession[] {
    return this.#matching(target).filter(
      ({ closeReason, decidedAt }) => closeReason === null && decidedAt <= until,
    );
  }

  /** Looks at all sessions to find a channel. */
  #matching({ kind, value }: RevocationScope): readonly PubSubSession[] {
    if (kind === "key") return [...(this.#perKey.get(value)?.open ?? [])];
    if (kind === "channel") return [...this.#sessions.keys()].filter(({ channels }) => channels.has(value));
    const session = this.#byId.get(value);
    return session === undefined ? [] : [session];
  }

  /** Called when a session begins to close. */
  closing(session: PubSubSession): void {
    const group = this.#groupOf(session);
    if (group?.open.delete(session)) group.closing++;
  }

  remove(session: PubSubSession): void {
    const group = this.#groupOf(session);
    const key = this.#sessions.get(session);
    if (!this.#sessions.delete(session)) return;
    this.#byId.delete(session.id);
    increment(this.#closed, session.closeReason ?? "app");
    if (group === undefined || key === undefined) return;
    group.closing--;
    if (group.open.size + group.closing === 0) this.#perKey.delete(key);
  }

  countRefusal(code: string): void {
    increment(this.#refused, code);
  }

  /** Closes all sessions. Resolves when all are closed. */
  async closeAll(reason: CloseReason, { clock, slices, spreadMs, hurry }: CloseAllOptions): Promise<void> {
    const sessions = [...this.#sessions.keys()];
    const count = sessions.length;
    const startedAt = monotonicNow(clock);
    let begun = 0;
    let cancel = (): void => {};
    const closeDue = (): void => {
      cancel();
      const first = begun;
      const passedMs = monotonicNow(clock) - startedAt;
      const isNow = spreadMs === 0 || hurry?.aborted === true;
      begun = isNow ? count : Math.min(count, Math.max(first, Math.floor((count * passedMs) / spreadMs)) + 1);
      slices.add(closeEach(sessions.slice(first, begun), reason, slices));
      if (begun === count) return;
      cancel = clock.schedule(closeDue, startedAt + (spreadMs * begun) / count - monotonicNow(clock));
    };
    hurry?.addEventListener("abort", closeDue, { once: true });
    closeDue();
    await Promise.all(sessions.map(({ closed }) => closed));
    // The sessions may all have ended for another reason.
    cancel();
    hurry?.removeEventListener("abort", closeDue);
  }

  #groupOf(session: PubSubSession): KeyedSessions | undefined {
    const key = this.#sessions.get(session);
    return key === undefined ? undefined : this.#perKey.get(key);
  }

  get statistics(): RegistryStatistics {
    return {
      open: this.#sessions.size,
      opened: this.#opened,
      closed: Object.fromEntries(this.#closed),
      refused: Object.fromEntries(this.#refused),
    };
  }
}

/** Closes sessions. Does not wait until they are closed. */
export function* closeEach(sessions: readonly PubSubSession[], reason: CloseReason, slices: Slices): Work {
  for (const session of sessions) {
    void session.close(reason);
    if (slices.isOver()) yield;
  }
}

function increment<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
