import { errorCatalogue, type ErrorCode, type ErrorDescription } from "./catalogue/error-catalogue.js";

/**
 * The errors of this library, each with a stable `code`.
 *
 * An ioredis error contains the arguments of its command, for example the password of AUTH. The error for a malformed URL
 * contains the whole URL (redis/ioredis#1713). So errors of other libraries are never chained, logged or sent: `sanitize()`
 * replaces them.
 */

/** The base class of all errors of this library. `code` is stable between releases, `message` is not. */
export class RedisSseError extends Error {
  /** The error code. `errorCatalogue` describes each code. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }

  /**
   * Whether the same call may succeed later, for example because Redis is unavailable or a limit is reached.
   *
   * `docs/errors.md` lists the value for each code.
   */
  get retryable(): boolean {
    if (this.code === "REDIS_REFUSED") return PASSING.test(this.message);
    // An application in JavaScript can create an error with an unknown code.
    return (errorCatalogue[this.code] as ErrorDescription | undefined)?.retryable ?? false;
  }
}

/** An option or an argument is invalid (code `CONFIG`). The message names it. */
export class ConfigError extends RedisSseError {
  constructor(message: string) {
    super("CONFIG", message);
  }
}

/** No Redis connection could be leased in time (code `POOL_EXHAUSTED`). You can try again later. */
export class PoolExhaustedError extends RedisSseError {
  constructor(message: string) {
    super("POOL_EXHAUSTED", message);
  }
}

/** The fields of an ioredis error that are safe to read. `command`, `input` and `stack` can contain secrets. */
interface ForeignError {
  readonly code?: unknown;
  readonly name?: unknown;
  readonly message?: unknown;
}

/**
 * Replaces an error of ioredis, Node or a mock by a safe error with a code. It contains nothing of the original text, which may
 * contain a password, a host or a user's data.
 */
export function sanitize(error: unknown): RedisSseError {
  if (error instanceof RedisSseError) return error;
  const { code, name, message } = (typeof error === "object" && error !== null ? error : {}) as ForeignError;
  const text = typeof message === "string" ? message : "";
  if (/^(NOAUTH|WRONGPASS)|invalid (username-)?password/i.test(text)) {
    const word = /^[A-Z]{6,9}\b/.exec(text)?.[0];
    if (word === "NOAUTH") return new RedisSseError("REDIS_AUTH", "Redis requires a password (NOAUTH)");
    return new RedisSseError("REDIS_AUTH", `Redis refused the credentials${word ? ` (${word})` : ""}`);
  }
  if (/max number of clients/i.test(text)) {
    return new RedisSseError("REDIS_UNAVAILABLE", "Too many connections: Redis has reached maxclients");
  }
  if (name === "ReplyError") {
    // By convention, the first word of a Redis error is its code in upper case (OOM, READONLY, NOPERM).
    const word = /^[A-Z]{2,16}\b/.exec(text.replace(IN_SCRIPT, ""))?.[0] ?? "ERR";
    // A Cluster client follows MOVED by itself, so this is a plain connection to one node.
    if (word === "MOVED") return oneNodeError();
    if (OF_CLUSTER.test(word)) {
      return new RedisSseError("REDIS_UNAVAILABLE", `The Redis Cluster does not serve the key now: ${word}`);
    }
    return new RedisSseError("REDIS_REFUSED", `Redis refused the command: ${word}`);
  }
  if (NOT_REDIS.test(text)) {
    return new RedisSseError(
      "REDIS_UNAVAILABLE",
      "the server at this address does not speak the Redis protocol",
    );
  }
  // The codes of Node's network and TLS errors are constants, so they contain no secret.
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

/** The prefix that Redis 6.2 adds if a command in a script fails with a code. */
const IN_SCRIPT =
  /^(?:ERR Error running script \(call to f_[0-9a-f]{40}\): @user_script:\d+: )?(?:@user_script: \d+: )?-?(?=[A-Z]{2,16} )/;

/** Redis codes of retryable errors: the server cannot write at the moment, or its memory is full. */
const PASSING = / (READONLY|LOADING|MASTERDOWN|NOREPLICAS|BUSY|OOM)$/;

/** Codes of a Cluster that moves a slot, or whose slot has no master. */
const OF_CLUSTER = /^(ASK|TRYAGAIN|CLUSTERDOWN)$/;

/** The error for a plain connection to one node of a cluster. */
export function oneNodeError(): ConfigError {
  return new ConfigError(
    "The option redis is a connection to one node of a Redis Cluster. Pass an ioredis Cluster client.",
  );
}

/** As `sanitize()`, for an error of SUBSCRIBE. A denied channel becomes `SUBSCRIBE_REFUSED`. */
export function subscribeFault(error: unknown): RedisSseError {
  const fault = sanitize(error);
  if (fault.code !== "REDIS_REFUSED" || !fault.message.endsWith("NOPERM")) return fault;
  return new RedisSseError("SUBSCRIBE_REFUSED", "A Redis ACL rule denied the channel.");
}

/** Network errors such as ECONNREFUSED, certificate errors of OpenSSL, ERR_TLS_..., ERR_SSL_... */
const NETWORK_CODE = /^(E[A-Z]+|EAI_[A-Z]+|ERR_(TLS|SSL|SOCKET)_\w+|[A-Z_]*(CERT|SIGNATURE|ISSUER)[A-Z_]*)$/;

/** Errors of the ioredis parser for an answer that does not follow the Redis protocol. */
const NOT_REDIS = /^Unknown RESP type|^Protocol error/;

/** The many messages of ioredis for a missing or lost connection. */
const UNREACHABLE =
  /closed|timed? ?out|aborted|unreachable|writeable|writable|connection|disconnect|cluster redirections|slots cache|startup nodes|cluster (is|isn't) /i;
