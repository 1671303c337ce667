import { MAX_STORED, type RevocationEntry } from "./revocation-store.js";
import type { Target } from "./revocation.js";

/**
 * The newest revocation of each key and channel. Revocations are compared by the times in their ids. Ids grow until Redis loses
 * entries. Then all entries are added to a new object.
 *
 * Keeps at most `maxStored` targets. If it may not know all revocations after an id, it reports everything as revoked.
 */
export class RevokedTargets {
  readonly #maxStored: number;
  readonly #ids = new Map<string, number>();
  /** Number of entries added, starting with `#oldest`. */
  #entries = 0;
  #oldest = 0;
  #newest: number | null = null;
  /** Revocations with this id or a smaller one may be unknown. */
  #missingUntil = 0;

  constructor(maxStored: number = MAX_STORED) {
    this.#maxStored = maxStored;
  }

  /** The id of the newest entry; 0 without entries. */
  get newest(): number {
    return this.#newest ?? 0;
  }

  /** Adds the next entry of the stream. */
  add({ id, revocation }: RevocationEntry): void {
    const time = Number.parseInt(id, 10);
    // Redis may have deleted older entries, because it has too many.
    if (this.#entries === 0) this.#oldest = time;
    this.#entries++;
    this.#newest = time;
    if (this.#entries === this.#maxStored)
      this.#missingUntil = Math.max(this.#missingUntil, this.#oldest - 1);
    if (revocation === null || revocation.target.kind === "session") return;
    const name = nameOf(revocation.target);
    this.#ids.delete(name);
    this.#ids.set(name, time);
    if (this.#ids.size <= this.#maxStored) return;
    const [[oldest, oldestTime]] = this.#ids as Iterable<[string, number]> as [[string, number]];
    this.#ids.delete(oldest);
    this.#missingUntil = oldestTime;
  }

  /** Whether one of these keys or channels was revoked after the entry with this id. */
  isRevokedAfter(id: number, keys: readonly string[], channels: readonly string[]): boolean {
    // Redis has lost the entry with this id, and maybe others.
    const isLost = this.#newest !== null && id > this.#newest;
    if (isLost || id < this.#missingUntil) return true;
    if (this.#ids.size === 0) return false;
    const isNewer = (kind: Target["kind"], value: string): boolean =>
      (this.#ids.get(nameOf({ kind, value })) ?? -1) > id;
    return keys.some((key) => isNewer("key", key)) || channels.some((channel) => isNewer("channel", channel));
  }
}

/** The name of a target in a map. */
export function nameOf({ kind, value }: Target): string {
  return `${kind} ${value}`;
}
