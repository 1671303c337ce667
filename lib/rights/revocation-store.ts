import { sanitize } from "../errors.js";
import { scriptTime, type RedisClient } from "../redis/client.js";
import { defineScript } from "../redis/script.js";
import { READ_REVOCATIONS, REVOKE } from "./lua/generated.js";
import type { Revocation, Target } from "./revocation.js";

/** A revocation as it is stored. Times are of the Redis clock, in milliseconds. */
export interface StoredRevocation extends Revocation {
  /** When `revoke()` was called. */
  readonly at: number;
  /** The id of the call. */
  readonly call: string;
  /** The service instance that called `revoke()`. */
  readonly caller: string;
}

/** An entry of the stream of revocations. */
export interface RevocationEntry {
  /** The id of the entry in Redis. */
  readonly id: string;
  /** `null`: another program wrote the entry. */
  readonly revocation: StoredRevocation | null;
}

export interface RevocationPage {
  /** The time of the Redis clock. */
  readonly now: number;
  /** Whether there may be more entries. */
  readonly isFull: boolean;
  /** Oldest first. */
  readonly entries: readonly RevocationEntry[];
}

/** Redis keeps at least this many revocations of the last day. */
export const MAX_STORED = 10_000;

/**
 * How long a revocation is kept at least. A process that is disconnected for a shorter time misses no revocation. It is longer than
 * a ticket can live after it was last compared with revocations: 24 hours and 10 s.
 */
const KEEP_MS = 25 * 3_600_000;

const PAGE = 500;

const store = defineScript("Revoke", REVOKE, 1, Number);
const read = defineScript("ReadRevocations", READ_REVOCATIONS, 1, (reply) => reply as readonly string[]);

/** The revocations in Redis: a stream with the name `<keyPrefix>revocations`. */
export class RevocationStore {
  /** The key of the stream, and also the channel of the notices. */
  readonly name: string;
  readonly #commands: () => RedisClient;

  constructor(keyPrefix: string, commands: () => RedisClient) {
    this.name = `${keyPrefix}revocations`;
    this.#commands = commands;
  }

  /**
   * Stores a revocation and publishes a notice. Returns the number of connections that got the notice, or `null` if it is not
   * known: a node of a cluster knows only its own connections. Rejects with a Redis error.
   */
  async add({ target, forMs }: Revocation, call: string, caller: string): Promise<number | null> {
    try {
      const client = this.#commands();
      const json = JSON.stringify([target.kind, target.value]);
      const args = [this.name, json, forMs, call, caller, MAX_STORED, KEEP_MS, scriptTime(client)];
      const receivers = await store(client, [this.name], args);
      return receivers < 0 || "nodes" in client ? null : receivers;
    } catch (error) {
      throw sanitize(error);
    }
  }

  /** Reads one page, from the entry with the id `from`; `null`: from the oldest entry. Rejects with a Redis error. */
  async read(from: string | null): Promise<RevocationPage> {
    try {
      const client = this.#commands();
      return toPage(await read(client, [this.name], [from ?? "0", PAGE, scriptTime(client)]));
    } catch (error) {
      throw sanitize(error);
    }
  }

  /** Publishes the answer to a call. Rejects with a Redis error. */
  async answer(channel: string, text: string): Promise<void> {
    try {
      await this.#commands().publish(channel, text);
    } catch (error) {
      throw sanitize(error);
    }
  }
}

function toPage([now, ...flat]: readonly string[]): RevocationPage {
  const entries: RevocationEntry[] = [];
  for (let index = 0; index < flat.length; index += 2) {
    entries.push({ id: flat[index]!, revocation: parseRevocation(flat[index + 1]!) });
  }
  return { now: Number(now), isFull: entries.length === PAGE, entries };
}

/** Parses "time forMs call caller target". Returns `null` if another program wrote it. */
function parseRevocation(text: string): StoredRevocation | null {
  const [, at, forMs, call, caller, json] = /^(\d{1,15}) (\d{1,10}) (\S+) (\S+) (.+)$/s.exec(text) ?? [];
  if (json === undefined) return null;
  const target = parseTarget(json);
  if (target === null) return null;
  return { target, at: Number(at), forMs: Number(forMs), call: call!, caller: caller! };
}

function parseTarget(json: string): Target | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return null;
  }
  const [kind, value]: readonly unknown[] = Array.isArray(parsed) ? parsed : [];
  if (kind !== "key" && kind !== "session" && kind !== "channel") return null;
  return typeof value === "string" ? { kind, value } : null;
}
