import { errorCatalogue, type ErrorCode, type ErrorDescription } from "./error-catalogue.js";

/**
 * Every error that leaves this library, each with a stable `code`.
 *
 * An error of ioredis carries the command's arguments, and so the password of a failed AUTH; a malformed
 * URL throws with the whole URL in `input` (redis/ioredis#1713). Hence no error of another library is ever
 * chained, logged or answered: `sanitize()` makes one of ours from it.
 */

/** The base of all errors of this library. `code` is stable between releases, `message` is not. */
export class RedisSseError extends Error {
  /** What happened. `errorCatalogue` has a description of each code. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }

  /**
   * Whether the same call may succeed later, because the fault passes by itself: Redis is away, a limit is reached.
   * `docs/errors.md` has it for each code.
   */
  get retryable(): boolean {
    if (this.code === "REDIS_REFUSED") return PASSING.test(this.message);
    // A caller in JavaScript may have made an error with another code.
    return (errorCatalogue[this.code] as ErrorDescription | undefined)?.retryable ?? false;
  }
}

/** An option that cannot be used, named in the message (code `CONFIG`). Thrown when something is created. */
export class ConfigError extends RedisSseError {
  constructor(message: string) {
    super("CONFIG", message);
  }
}

/** No Redis connection could be leased in time (code `POOL_EXHAUSTED`). It passes: try again later. */
export class PoolExhaustedError extends RedisSseError {
  constructor(message: string) {
    super("POOL_EXHAUSTED", message);
  }
}

/** The fields of an ioredis error that are safe to read: never `command`, `input` or `stack`. */
interface ForeignError {
  readonly code?: unknown;
  readonly name?: unknown;
  readonly message?: unknown;
}

/**
 * The safe form of anything that ioredis, Node or a mock threw: a code and a sentence of our own, with
 * nothing of the original text, which may hold a password, a host or a user's data.
 */
export function sanitize(error: unknown): RedisSseError {
  if (error instanceof RedisSseError) return error;
  const { code, name, message } = (typeof error === "object" && error !== null ? error : {}) as ForeignError;
  const text = typeof message === "string" ? message : "";
  if (/^(NOAUTH|WRONGPASS)|invalid (username-)?password/i.test(text)) {
    const word = /^[A-Z]{6,9}\b/.exec(text)?.[0];
    if (word === "NOAUTH") return new RedisSseError("REDIS_AUTH", "Redis asks for a password (NOAUTH)");
    return new RedisSseError("REDIS_AUTH", `Redis refused the credentials${word ? ` (${word})` : ""}`);
  }
  if (/max number of clients/i.test(text)) {
    return new RedisSseError("REDIS_UNAVAILABLE", "Too many connections: Redis has reached maxclients");
  }
  if (name === "ReplyError") {
    // The first word of a Redis error is its code by convention (OOM, READONLY, NOPERM, ...), all upper case.
    const word = /^[A-Z]{2,16}\b/.exec(text.replace(IN_SCRIPT, ""))?.[0] ?? "ERR";
    // A Cluster client follows it by itself.
    if (word === "MOVED") return oneNodeError();
    if (OF_CLUSTER.test(word)) {
      return new RedisSseError("REDIS_UNAVAILABLE", `The Redis Cluster does not serve the key now: ${word}`);
    }
    return new RedisSseError("REDIS_REFUSED", `Redis refused the command: ${word}`);
  }
  if (NOT_REDIS.test(text)) {
    return new RedisSseError(
      "REDIS_UNAVAILABLE",
      "the server at that address does not speak the protocol of Redis",
    );
  }
  // Codes of Node's network and TLS errors are constants: they say what is wrong and nothing of whom.
  const constant = typeof code === "string" && NETWORK_CODE.test(code) ? ` (${code})` : "";
  if (
    name === "MaxRetriesPerRequestError" ||
    name === "ClusterAllFailedError" ||
    constant !== "" ||
    UNREACHABLE.test(text)
  ) {
    return new RedisSseError("REDIS_UNAVAILABLE", `Redis cannot be reached${constant}`);
  }
  return new RedisSseError("INTERNAL", "an unexpected error");
}

/** What Redis 6.2 puts before the error of a command in a script, where that error has a code. */
const IN_SCRIPT =
  /^(?:ERR Error running script \(call to f_[0-9a-f]{40}\): @user_script:\d+: )?(?:@user_script: \d+: )?-?(?=[A-Z]{2,16} )/;

/** Redis' own codes of faults that pass: it is not the server that writes just now, or is full. */
const PASSING = / (READONLY|LOADING|MASTERDOWN|NOREPLICAS|BUSY|OOM)$/;

/** A slot is being moved, or its master is lost. */
const OF_CLUSTER = /^(ASK|TRYAGAIN|CLUSTERDOWN)$/;

/** A plain connection was given for a cluster. */
export function oneNodeError(): ConfigError {
  return new ConfigError(
    "redis names one node of a Redis Cluster, which has only some of the keys: pass an ioredis Cluster client",
  );
}

/** `sanitize()` for an error of SUBSCRIBE: whether the server said no to this channel, or something else failed. */
export function subscribeFault(error: unknown): RedisSseError {
  const fault = sanitize(error);
  if (fault.code !== "REDIS_REFUSED" || !fault.message.endsWith("NOPERM")) return fault;
  return new RedisSseError("SUBSCRIBE_REFUSED", "Redis refused the channel: its ACL does not admit it");
}

/** ECONNREFUSED and its like; what OpenSSL finds wrong with a certificate; ERR_TLS_..., ERR_SSL_... */
const NETWORK_CODE = /^(E[A-Z]+|EAI_[A-Z]+|ERR_(TLS|SSL|SOCKET)_\w+|[A-Z_]*(CERT|SIGNATURE|ISSUER)[A-Z_]*)$/;

/** What the parser of ioredis says of an answer that is not one of Redis. */
const NOT_REDIS = /^Unknown RESP type|^Protocol error/;

/** How ioredis says, in many ways, that there is no connection. */
const UNREACHABLE =
  /closed|timed? ?out|aborted|unreachable|writeable|writable|connection|disconnect|cluster redirections|slots cache|startup nodes|cluster (is|isn't) /i;
