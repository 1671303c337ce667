import { monotonicNow, type Clock } from "../clock.js";
import { RedisSseError } from "../errors.js";
import type { Target } from "./revocation.js";
import { nameOf } from "./revoked-targets.js";

/** Counters of `revoke()` in this process. */
export interface RevocationStatistics {
  /** Revocations that this process has carried out, of all callers. */
  readonly applied: number;
  /** Number of keys whose new streams are refused now. */
  readonly blocked: number;
}

/** When a resolver was called. */
interface ResolverCall {
  /** As `monotonicNow()`. */
  readonly at: number;
  /** Number of revocations that this process had carried out. */
  readonly applied: number;
}

interface RecentRevocation {
  /** Number of revocations that this process has carried out, with this one. */
  readonly number: number;
  /** The latest time at which it can have been stored, as `monotonicNow()`. */
  readonly at: number;
}

/** A resolver can end shortly after its deadline. */
const MARGIN_MS = 5_000;

/** The most keys and targets to remember. Redis keeps about the same number of revocations. */
const MAX_KNOWN = 10_000;

/** Decides whether a new stream may open: its key may be blocked, or its right may be revoked while its resolver decides. */
export class NewStreamCheck {
  readonly #clock: Clock;
  /** The longest time between the call of a resolver and the start of its stream. */
  readonly #resolverTimeoutMs: number;
  /** Until when new streams of a key are refused, as `monotonicNow()`. */
  readonly #blocks = new Map<string, number>();
  /** The targets that were revoked in the last seconds, oldest first. A resolver that runs now may have read outdated rights. */
  readonly #recent = new Map<string, RecentRevocation>();
  /** When the resolver of a client was called. Kept until its stream opens. */
  readonly #calls = new WeakMap<object, ResolverCall>();
  #applied = 0;

  constructor(clock: Clock, resolverTimeoutMs: number) {
    this.#clock = clock;
    this.#resolverTimeoutMs = resolverTimeoutMs;
  }

  get statistics(): RevocationStatistics {
    this.forgetOld();
    return { applied: this.#applied, blocked: this.#blocks.size };
  }

  /** Called before the resolver of a client is called. Only the first call for a client counts. */
  resolverCalled(client: object): void {
    if (this.#calls.has(client)) return;
    this.#calls.set(client, { at: monotonicNow(this.#clock), applied: this.#applied });
  }

  /** Throws if new streams of this key are refused. */
  assertNotBlocked(key: string): void {
    const until = this.#blocks.get(key);
    if (until === undefined || monotonicNow(this.#clock) >= until) return;
    throw new RedisSseError("REVOKED", "The right to this stream was revoked.");
  }

  /**
   * Returns when the resolver of this client was called (`monotonicNow()`), and forgets it. `undefined` if no resolver was called.
   * Throws if the key or a channel was revoked since then. Then the client reconnects, and its resolver is called again.
   */
  takeCallTime(client: object, key: string | undefined, channels: readonly string[]): number | undefined {
    const call = this.#calls.get(client);
    if (call === undefined) return undefined;
    this.#calls.delete(client);
    // A revocation that this process has only read since the call may be much older than the call.
    if (this.isRevokedSince(call.at, key, channels, call.applied)) {
      throw new RedisSseError("CLOSED", "The right to this stream was revoked while it opened.");
    }
    return call.at;
  }

  /**
   * Whether the key or a channel was revoked at this time (`monotonicNow()`) or later, as far as this process has read. The first
   * `applied` revocations of this process do not count.
   */
  isRevokedSince(at: number, key: string | undefined, channels: readonly string[], applied = 0): boolean {
    if (this.#recent.size === 0) return false;
    const isRevoked = (kind: Target["kind"], value: string): boolean => {
      const revocation = this.#recent.get(nameOf({ kind, value }));
      return revocation !== undefined && revocation.number > applied && revocation.at >= at;
    };
    return (
      (key !== undefined && isRevoked("key", key)) ||
      channels.some((channel) => isRevoked("channel", channel))
    );
  }

  /** Notes that this process carries out a revocation, which was stored at this time (`monotonicNow()`). */
  add(target: Target, storedAt: number): void {
    this.#applied++;
    setNewest(this.#recent, nameOf(target), { number: this.#applied, at: storedAt });
  }

  /** Refuses new streams of a key until this time (`monotonicNow()`). */
  block(key: string, until: number): void {
    setNewest(this.#blocks, key, Math.max(until, this.#blocks.get(key) ?? 0));
  }

  /** Drops expired blocks, and targets that are too old to matter to a running resolver. */
  forgetOld(): void {
    const now = monotonicNow(this.#clock);
    for (const [key, until] of this.#blocks) if (until <= now) this.#blocks.delete(key);
    const oldest = now - this.#resolverTimeoutMs - MARGIN_MS;
    for (const [name, { at }] of this.#recent) {
      // The entries are in the order of their times.
      if (at >= oldest) break;
      this.#recent.delete(name);
    }
  }
}

/** Adds an entry as the newest one. Drops the oldest entry if there are too many. */
function setNewest<Value>(map: Map<string, Value>, name: string, value: Value): void {
  map.delete(name);
  map.set(name, value);
  if (map.size <= MAX_KNOWN) return;
  const [oldest] = map.keys();
  map.delete(oldest!);
}
