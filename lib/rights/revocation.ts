import { ConfigError } from "../errors.js";
import { isLargerThan } from "../serialize.js";
import { assertOptions, optionError, readWholeNumber } from "../validate.js";

/** The streams that `revoke()` ends. Set exactly one property. */
export type RevocationTarget =
  | {
      /**
       * All streams with this key: `key` of the mount, or of the resolver's answer. A number counts as its text.
       *
       * Tickets with this key become invalid.
       */
      readonly key: string | number | bigint;
      /** @hidden */
      readonly session?: undefined;
      /** @hidden */
      readonly channel?: undefined;
    }
  | {
      /** The stream with this id: `PubSubSession.id`. */
      readonly session: string;
      /** @hidden */
      readonly key?: undefined;
      /** @hidden */
      readonly channel?: undefined;
    }
  | {
      /**
       * All streams that have this channel.
       *
       * Tickets with this channel become invalid, even if they have other channels too.
       */
      readonly channel: string;
      /** @hidden */
      readonly key?: undefined;
      /** @hidden */
      readonly session?: undefined;
    };

/** Options of `revoke()`. */
export interface RevokeOptions {
  /**
   * Milliseconds for which new streams of the key are refused with 403 `REVOKED`: 1 to 2,592,000,000 (30 days).
   *
   * You can use it only with a `key`.
   *
   * @defaultValue new streams are not refused
   */
  readonly forMs?: number | undefined;
}

/** A `RevocationTarget` after the checks. */
export interface Target {
  readonly kind: "key" | "session" | "channel";
  readonly value: string;
}

/** The arguments of `revoke()` after the checks. */
export interface Revocation {
  readonly target: Target;
  /** Milliseconds for which new streams of the key are refused; 0: they are not refused. */
  readonly forMs: number;
}

/** Checks of a target that are in other folders. */
export interface TargetChecks {
  /** See `readKey()` of `sessions/`. */
  readonly readKey: (key: unknown) => string | undefined;
  readonly assertChannel: (channel: unknown) => void;
}

const KINDS: readonly Target["kind"][] = ["key", "session", "channel"];
const TARGET: ReadonlySet<string> = new Set(KINDS);
const OPTIONS: ReadonlySet<string> = new Set<keyof RevokeOptions>(["forMs"]);
const MAX_BLOCK_MS = 30 * 24 * 3_600_000;

/** Redis stores thousands of revocations, so each must be small. */
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
