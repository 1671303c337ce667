import type { Clock } from "../clock.js";
import type { CloseReason } from "../close-reasons.js";
import { RedisSseError } from "../errors.js";
import type { OnLimit } from "../sse/http-answer.js";
import type { PubSubSession } from "./session.js";

export interface RegistryLimits {
  readonly maxSessions: number;
  readonly maxSessionsPerKey: number;
}

/** All sessions of a service, counted. */
export interface RegistryStatistics {
  /** Sessions that are not yet closed. */
  readonly open: number;
  /** Sessions created so far. */
  readonly opened: number;
  /** Sessions that are closed, by reason; only the reasons that have occurred. */
  readonly closed: Readonly<Partial<Record<CloseReason, number>>>;
  /** Requests that were refused before a session was made for them, by error code. */
  readonly refused: Readonly<Record<string, number>>;
}

/** The sessions of one key. */
interface KeyedSessions {
  /** The sessions that are not closing, the oldest first. */
  readonly open: Set<PubSubSession>;
  /** How many are closing. */
  closing: number;
}

/** Knows every open session, how many each key has, and why the others ended. */
export class SessionRegistry {
  readonly #limits: RegistryLimits;
  readonly #sessions = new Map<PubSubSession, string | undefined>();
  readonly #perKey = new Map<string, KeyedSessions>();
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

  /** Throws if one more session would exceed a limit. */
  assertRoom(key: string | undefined, onLimit: OnLimit | undefined): void {
    const { maxSessions, maxSessionsPerKey } = this.#limits;
    if (this.#sessions.size >= maxSessions) {
      throw new RedisSseError("LIMIT_SESSIONS", `Too many streams: all ${maxSessions} are in use`);
    }
    const group = key === undefined ? undefined : this.#perKey.get(key);
    if (group === undefined) return;
    // Evicted streams take a while to close. Twice the limit bounds how many a key can have at a time.
    const max = onLimit === "evict-oldest" ? 2 * maxSessionsPerKey : maxSessionsPerKey;
    if (group.open.size + group.closing >= max) {
      throw new RedisSseError(
        "LIMIT_SESSIONS_PER_KEY",
        `expected at most ${maxSessionsPerKey} streams at a time`,
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
    if (key === undefined) return;
    let group = this.#perKey.get(key);
    if (group === undefined) this.#perKey.set(key, (group = { open: new Set(), closing: 0 }));
    group.open.add(session);
    if (group.open.size <= this.#limits.maxSessionsPerKey) return;
    const [oldest] = group.open;
    oldest!.evict();
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
    increment(this.#closed, session.closeReason ?? "app");
    if (group === undefined || key === undefined) return;
    group.closing--;
    if (group.open.size + group.closing === 0) this.#perKey.delete(key);
  }

  countRefusal(code: string): void {
    increment(this.#refused, code);
  }

  /**
   * Closes all sessions, each at a moment of its own within `spreadMs`, or all that are left as soon as
   * `hurry` fires; resolves when all are closed.
   */
  async closeAll(reason: CloseReason, clock: Clock, spreadMs: number, hurry?: AbortSignal): Promise<void> {
    const sessions = [...this.#sessions.keys()];
    const cancels = sessions.map((session, index) =>
      clock.schedule(() => void session.close(reason), (spreadMs * index) / sessions.length),
    );
    const cancelAll = (): void => cancels.forEach((cancel) => cancel());
    const closeNow = (): void => {
      cancelAll();
      for (const session of sessions) void session.close(reason);
    };
    hurry?.addEventListener("abort", closeNow, { once: true });
    if (spreadMs === 0 || hurry?.aborted) closeNow();
    await Promise.all(sessions.map(({ closed }) => closed));
    // Those that ended by themselves, or for another reason, still have their moment to come.
    cancelAll();
    hurry?.removeEventListener("abort", closeNow);
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

function increment<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
