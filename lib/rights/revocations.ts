import { randomBytes } from "node:crypto";

import { monotonicNow, type Clock } from "../clock.js";
import type { RedisSseError } from "../errors.js";
import { createLog } from "../log.js";
import type { ServiceLog } from "../logger.js";
import { PendingAnswers } from "./pending-answers.js";
import type { Revocation, Target } from "./revocation.js";
import { RevocationReader } from "./revocation-reader.js";
import type { NewStreamCheck } from "./new-stream-check.js";
import type { RevocationEntry, RevocationStore, StoredRevocation } from "./revocation-store.js";
import { RevokedTargets } from "./revoked-targets.js";

export interface RevocationsOptions {
  readonly store: RevocationStore;
  /** Subscribes to an internal channel. `null` means that messages may have been missed. Returns a function that ends it. */
  readonly subscribe: (
    channel: string,
    onMessage: (text: string | null) => void,
    onFault: (fault: RedisSseError) => void,
  ) => () => void;
  /** Ends the streams of a target whose resolver was called until this time (`monotonicNow()`). Returns their number. */
  readonly end: (target: Target, decidedUntil: number) => number;
  /** The name of this process. */
  readonly instance: string;
  readonly rights: NewStreamCheck;
  readonly clock: Clock;
  readonly log: ServiceLog;
}

/** How long a call waits for the answers of other processes. */
const ANSWER_MS = 1_000;

/** How long a call waits for its subscription to the answers. Then it revokes without a complete count. */
const LISTEN_MS = 500;

/** The pause before a failed read is repeated. */
const RETRY_MS = 500;

/** The pause after a Redis ACL rule has denied a command or a channel. */
const DENIED_MS = 5_000;

const log = createLog("session");

/**
 * Carries out the revocations of all processes on the streams of this process.
 *
 * Redis stores each revocation, and a notice says that one was stored. A process acts only on the stored revocations: it reads
 * them when it subscribes, after each notice, when it may have missed a notice, and for each ticket.
 */
export class Revocations {
  readonly #options: RevocationsOptions;
  readonly #answers: PendingAnswers;
  readonly #reader: RevocationReader;
  #revoked = new RevokedTargets();
  /** Set while all revocations are read again. Until then, tickets are compared with those that were known before. */
  #reread: RevokedTargets | null = null;
  #unsubscribe: (() => void) | null = null;
  #cancelFollow: () => void = () => {};
  /** The last time at which this process knew all revocations. */
  #completeAt = -Infinity;
  /** Whether the channel of notices is subscribed. Callers wait only for answers of subscribed processes. */
  #isSubscribed = false;
  #isClosed = false;

  constructor(options: RevocationsOptions) {
    const { store, subscribe, instance, clock, log: serviceLog } = options;
    this.#options = options;
    this.#answers = new PendingAnswers({
      channel: `${store.name}:${instance}`,
      subscribe,
      clock,
      onFault: (fault) =>
        serviceLog.warnOnce(
          "revoke-answers",
          "revoke() cannot count the streams that other processes end (%s). Allow the channels %s:* for this Redis user.",
          fault.message,
          store.name,
        ),
    });
    this.#reader = new RevocationReader({
      store,
      clock,
      onEntries: (entries, now, answeredAt) => this.#applyEach(entries, now, answeredAt),
      onComplete: (askedAt) => {
        this.#completeAt = askedAt;
        this.#revoked = this.#reread ?? this.#revoked;
        this.#reread = null;
      },
      onLost: () => {
        this.#completeAt = -Infinity;
        this.#reread = new RevokedTargets();
      },
      onFault: (fault) => this.#failed(fault),
    });
  }

  /** See `RedisSse.revoke()`. The arguments are checked. */
  async revoke(revocation: Revocation): Promise<number> {
    const { store, instance, clock } = this.#options;
    const endsAt = monotonicNow(clock) + ANSWER_MS;
    await this.#answers.listen(LISTEN_MS);
    const call = randomBytes(9).toString("base64url");
    // An answer can arrive before the reply of the script.
    const pending = this.#answers.expect(call);
    try {
      const receivers = await store.add(revocation, call, instance);
      return await pending.collect(receivers, Math.max(0, endsAt - monotonicNow(clock)));
    } finally {
      pending.end();
    }
  }

  /** Follows the revocations of all processes from now on. Called for each stream. */
  follow(): void {
    if (this.#unsubscribe !== null || this.#isClosed) return;
    const { store, subscribe } = this.#options;
    this.#unsubscribe = subscribe(
      store.name,
      () => {
        this.#isSubscribed = true;
        this.#reader.wake();
      },
      (fault) => this.#refused(fault),
    );
  }

  /** Reads all revocations that are stored now. Rejects with a Redis error or `CLOSED`. */
  refresh(): Promise<void> {
    return this.#reader.read();
  }

  /** The id of the newest known revocation; 0 without revocations. */
  get newest(): number {
    return this.#revoked.newest;
  }

  /** See `RevokedTargets.isRevokedAfter()`. */
  isRevokedAfter(id: number, keys: readonly string[], channels: readonly string[]): boolean {
    return this.#revoked.isRevokedAfter(id, keys, channels);
  }

  /** Ends all waits and the subscriptions. */
  close(): void {
    this.#isClosed = true;
    this.#reader.close();
    this.#cancelFollow();
    this.#unsubscribe?.();
    this.#answers.close();
  }

  #applyEach(entries: readonly RevocationEntry[], now: number, answeredAt: number): void {
    for (const entry of entries) {
      (this.#reread ?? this.#revoked).add(entry);
      if (entry.revocation !== null) this.#apply(entry.revocation, now, answeredAt);
    }
    this.#options.rights.forgetOld();
  }

  /** See `RevocationReaderOptions.onEntries`. */
  #apply({ target, at, forMs, call, caller }: StoredRevocation, now: number, answeredAt: number): void {
    const ageMs = Math.max(0, now - at - 1);
    // The latest time at which the revocation can have been stored. The clock of Redis may have been set forward since then.
    const storedAt = Math.max(answeredAt - ageMs, this.#completeAt);
    const { rights, end } = this.#options;
    rights.add(target, storedAt);
    const leftMs = Math.min(at + forMs - now, forMs);
    const isBlock = target.kind === "key" && leftMs > 0;
    if (isBlock) rights.block(target.value, answeredAt + leftMs);
    const count = end(target, isBlock ? Infinity : storedAt);
    if (count > 0) log("revoked: %d streams end", count);
    // The caller of an older revocation does not wait any more.
    if (this.#isSubscribed && ageMs < ANSWER_MS) this.#answer(call, caller, count);
  }

  #answer(call: string, caller: string, count: number): void {
    const { store, instance } = this.#options;
    const text = `${call} ${count}`;
    if (caller === instance) return this.#answers.receive(text);
    store.answer(`${store.name}:${caller}`, text).catch((fault: RedisSseError) => {
      log("revocation: the count was not sent: %s", fault.message);
    });
  }

  /**
   * Returns the pause before the next read; `null` for no retry. A process without streams does not retry: `issue()` and
   * `access()` reject with the error.
   */
  #failed(fault: RedisSseError): number | null {
    if (this.#isClosed || fault.code === "CLOSED" || this.#unsubscribe === null) return null;
    this.#warn(fault);
    return fault.retryable ? RETRY_MS : DENIED_MS;
  }

  #refused(fault: RedisSseError): void {
    this.#isSubscribed = false;
    if (this.#isClosed || fault.code === "CLOSED") return;
    this.#warn(fault);
    this.#cancelFollow = this.#options.clock.schedule(() => {
      this.#unsubscribe?.();
      this.#unsubscribe = null;
      this.follow();
    }, DENIED_MS);
  }

  /** Logs nothing for a wrong password or a lost connection, because the pool logs them. */
  #warn(fault: RedisSseError): void {
    if (fault.retryable || fault.code === "REDIS_AUTH") return;
    const { log: serviceLog, store } = this.#options;
    serviceLog.warnOnce(
      "revocations",
      "revoke() does not reach the streams of this process (%s). Allow the key and the channel %s for this Redis user.",
      fault.message,
      store.name,
    );
  }
}
