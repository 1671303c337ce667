import { ConfigError } from "../errors.js";
import { isLargerThan } from "../serialize.js";
import { assertOptions, optionError, readWholeNumber } from "../validate.js";

/** The streams that `revoke()` ends. Set exactly one property. */
export type RevocationTarget =
  | {
      /** The streams of this key: the `key` of the mount, or of the resolver's answer. A number counts as its text. */
      readonly key: string | number | bigint;
    }
  | {
      /** The stream with this id: `PubSubSession.id`. */
      readonly session: string;
    }
  | {
      /** All streams that have this channel. */
      readonly channel: string;
    };

/** Options of `revoke()`. */
export interface RevokeOptions {
  /**
   * Milliseconds in which new streams of the key are refused with 403 `REVOKED`, from 1 to 2,592,000,000 (30 days). Only with
   * a `key`.
   *
   * @defaultValue new streams are not refused
   */
  readonly forMs?: number | undefined;
}

/** The streams of a revocation. Internal parts use this form. */
export interface Target {
  readonly kind: "key" | "session" | "channel";
  readonly value: string;
}

/** What `revoke()` is asked to do. */
export interface Revocation {
  readonly target: Target;
  /** How long new streams of the key are refused; 0 for not at all. */
  readonly forMs: number;
}

/** The checks of other folders that a target needs. */
export interface TargetChecks {
  /** See `readKey()` of `sessions/`. */
  readonly readKey: (key: unknown) => string | undefined;
  readonly assertChannel: (channel: unknown) => void;
}

const KINDS: readonly Target["kind"][] = ["key", "session", "channel"];
const TARGET: ReadonlySet<string> = new Set(KINDS);
const OPTIONS: ReadonlySet<string> = new Set<keyof RevokeOptions>(["forMs"]);
const MAX_BLOCK_MS = 30 * 24 * 3_600_000;

/** Redis keeps thousands of revocations, so each must be small. */
const MAX_VALUE_BYTES = 1_024;

/** Checks the arguments of `revoke()`. Throws `ConfigError`, or an error of `assertChannel`. */
export function readRevocation(target: unknown, options: unknown, checks: TargetChecks): Revocation {
  assertOptions("the target of revoke()", target, TARGET);
  assertOptions("the options of revoke()", options, OPTIONS);
  const { forMs } = options as RevokeOptions;
  const given = target as { readonly [Kind in Target["kind"]]?: unknown };
  const kinds = KINDS.filter((kind) => given[kind] !== undefined);
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    throw new ConfigError(
      `expected the target of revoke() with exactly one of key, session and channel, got ${kinds.length}`,
    );
  }
  const value = readValue(kind, given[kind], checks);
  if (isLargerThan(value, MAX_VALUE_BYTES)) {
    throw new ConfigError(`expected ${kind} of revoke() with at most ${MAX_VALUE_BYTES} bytes of UTF-8`);
  }
  if (forMs === undefined) return { target: { kind, value }, forMs: 0 };
  if (kind !== "key")
    throw new ConfigError(`expected forMs of revoke() only with a key, got it with a ${kind}`);
  return { target: { kind, value }, forMs: readWholeNumber("forMs", forMs, 1, MAX_BLOCK_MS) };
}

function readValue(kind: Target["kind"], value: unknown, { readKey, assertChannel }: TargetChecks): string {
  if (kind === "channel") {
    assertChannel(value);
    return value as string;
  }
  const text = kind === "key" ? readKey(value) : value;
  if (typeof text === "string") return text;
  throw optionError(
    kind === "key" ? "key of revoke() as a key, not null" : "session of revoke() as a string",
    value,
  );
}
