import { createHash, randomBytes } from "node:crypto";

import { sanitize } from "../errors.js";
import type { RedisClient } from "../redis/client.js";
import { gatherWrites } from "../redis/gathered-writes.js";
import { defineScript } from "../redis/script.js";
import { EXTEND, REDEEM, RELEASE } from "./lua/generated.js";

const redeemScript = defineScript("RedeemTicket", REDEEM, 1, Number);
const extendScript = defineScript("ExtendTicket", EXTEND, 1, Number);
const releaseScript = defineScript("ReleaseTicket", RELEASE, 1, Number);

/** A ticket in Redis. */
export interface TicketRecord {
  /** The id of the newest revocation that was compared with the ticket. */
  readonly revocation: number;
  /** The rights of the ticket as JSON. */
  readonly rights: string;
  /** The hash of the token of the client that has used the ticket. `null`: it is unused. */
  readonly tokenHash: string | null;
  /** Milliseconds until it expires. */
  readonly leftMs: number;
}

/** The values that `redeem()` stores. */
export interface Redemption {
  readonly tokenHash: string;
  /** Identifies the stream. */
  readonly stream: string;
  /** See `TicketRecord.revocation`. */
  readonly revocation: number;
}

/**
 * The tickets in Redis. Each ticket is a Redis string: "revocation token stream rights". The token and the stream of an unused
 * ticket are "-".
 *
 * Redis stores only SHA-256 hashes of tickets and tokens. So a program that can read Redis cannot use them. Every method rejects
 * with sanitized errors.
 */
export class TicketStore {
  readonly #commands: () => RedisClient;
  readonly #keyPrefix: string;

  constructor(commands: () => RedisClient, keyPrefix: string) {
    this.#commands = commands;
    this.#keyPrefix = keyPrefix;
  }

  /** The key of a ticket. */
  keyOf(ticket: string): string {
    return `${this.#keyPrefix}ticket:${hashOf(ticket)}`;
  }

  /** One command writes the ticket and its expiry. So no error can leave a ticket that never expires. */
  async issue(key: string, rights: string, revocation: number, ttlMs: number): Promise<void> {
    await this.#run((client) => client.set(key, `${revocation} - - ${rights}`, "PX", ttlMs));
  }

  /** Returns `null` for an unknown ticket. */
  async read(key: string): Promise<TicketRecord | null> {
    const [text, leftMs] = await this.#run((client) => Promise.all([client.get(key), client.pttl(key)]));
    const [, revocation, token, rights] = /^(\d{1,20}) (\S+) \S+ (.+)$/s.exec(text ?? "") ?? [];
    if (rights === undefined || leftMs < 0) return null;
    return { revocation: Number(revocation), rights, tokenHash: token === "-" ? null : token!, leftMs };
  }

  /** Returns false if the ticket is unknown, or if another client has used it. */
  async redeem(key: string, { tokenHash, stream, revocation }: Redemption, ttlMs: number): Promise<boolean> {
    const args = [tokenHash, stream, ttlMs, revocation];
    return (await this.#run((client) => redeemScript(client, [key], args))) === 1;
  }

  /** Returns false if the stream does not have the ticket any more. A `revocation` of `null` does not change it. */
  async extend(key: string, stream: string, ttlMs: number, revocation: number | null): Promise<boolean> {
    const args = [stream, ttlMs, revocation ?? ""];
    return (await this.#run((client) => extendScript(client, [key], args))) === 1;
  }

  /** Sets the expiry of an ended stream's ticket. A `ttlMs` of 0 deletes it. `isUnused`: any client can use the ticket again. */
  async release(key: string, stream: string, ttlMs: number, isUnused: boolean): Promise<void> {
    await this.#run((client) => releaseScript(client, [key], [stream, ttlMs, isUnused ? 1 : 0]));
  }

  async #run<Reply>(command: (client: RedisClient) => Promise<Reply>): Promise<Reply> {
    try {
      return await command(gatherWrites(this.#commands()));
    } catch (error) {
      throw sanitize(error);
    }
  }
}

const SECRET_BYTES = 32;

/** Returns a random ticket or token. */
export function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString("base64url");
}

/** Whether text can be a ticket or a token. */
export function isSecret(text: string | undefined): text is string {
  return text !== undefined && /^[\w-]{43}$/.test(text);
}

export function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("base64url");
}
