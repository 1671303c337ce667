import { createHmac, timingSafeEqual } from "node:crypto";

import { optionError } from "../validate.js";

/** Shorter secrets could be guessed from a token. */
const MIN_SECRET_LENGTH = 32;
const MAC_BYTES = 16;
const NOTHING = Buffer.alloc(0);
/** Longer than any token of `seal()`. Longer text is not decoded. */
const MAX_LENGTH = 16 * 1024;

/** The purpose and the key of a token. It is invalid for any other purpose or key. No key differs from the empty key. */
export interface TokenUse {
  readonly purpose: string;
  readonly key: string | undefined;
}

/** The content of a valid token. */
export interface OpenToken {
  readonly content: Buffer;
  /** The tags of channels in the content. */
  readonly tagOf: (channel: string) => number;
}

/**
 * Signs and verifies tokens. A token is base64url of a MAC and the content. The MAC is the first 16 bytes of HMAC-SHA256 over
 * the purpose, the key and the content.
 */
export class IdTokens {
  readonly #secrets: readonly string[];

  /** The first secret signs, and all secrets verify. So a secret can be replaced without an invalid token. */
  constructor(secrets: readonly string[]) {
    this.#secrets = secrets;
  }

  seal(use: TokenUse, content: Buffer): string {
    return Buffer.concat([macOf(this.#secrets[0]!, use, content), content]).toString("base64url");
  }

  /**
   * A tag of a channel, for the content of a new token. Everyone can find a second channel with the same tag in an event id. A
   * tag of a token depends on the secret, so a client cannot use the token of a channel that it has chosen for another one.
   */
  tagOf(channel: string): number {
    return secretTagOf(this.#secrets[0]!, channel);
  }

  /** Returns `null` if the token is not valid. It is untrusted input. */
  open(use: TokenUse, token: string): OpenToken | null {
    if (token.length > MAX_LENGTH) return null;
    const bytes = Buffer.from(token, "base64url");
    if (bytes.length < MAC_BYTES) return null;
    const mac = bytes.subarray(0, MAC_BYTES);
    const content = bytes.subarray(MAC_BYTES);
    const signer = this.#secrets.find((secret) => timingSafeEqual(macOf(secret, use, content), mac));
    if (signer === undefined) return null;
    return { content, tagOf: (channel) => secretTagOf(signer, channel) };
  }
}

function secretTagOf(secret: string, channel: string): number {
  return macOf(secret, { purpose: "tag", key: channel }, NOTHING).readUInt32BE(0);
}

function macOf(secret: string, { purpose, key }: TokenUse, content: Buffer): Buffer {
  // JSON shows where the key ends, and keeps text that is not valid Unicode.
  const head = JSON.stringify([purpose, key ?? null]);
  return createHmac("sha256", secret).update(head).update(content).digest().subarray(0, MAC_BYTES);
}

/** Returns the secrets of the option `secret`; `null` for none. Throws `ConfigError`, without the text of a secret. */
export function readSecret(secret: unknown): readonly string[] | null {
  if (secret === undefined) return null;
  const secrets: readonly unknown[] = Array.isArray(secret) ? secret : [secret];
  const isLong = (each: unknown): each is string =>
    typeof each === "string" && each.length >= MIN_SECRET_LENGTH;
  if (secrets.length > 0 && secrets.every(isLong)) return [...secrets];
  throw optionError(
    `secret as a text of at least ${MIN_SECRET_LENGTH} characters, or an array of such texts`,
    secret,
  );
}
