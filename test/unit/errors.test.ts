import { inspect } from "node:util";

import { expect } from "chai";

import {
  ConfigError,
  PoolExhaustedError,
  RedisSseError,
  sanitize,
  subscribeFault,
} from "../../lib/errors.js";

const SECRET = "hunter2-the-password";

/** Redis 6.2 puts this text before the error of a command in a script. */
const IN_SCRIPT = `ERR Error running script (call to f_${"0a".repeat(20)}): `;

describe("RedisSseError", () => {
  it("has its code and the name of its class", () => {
    expect(new RedisSseError("TIMEOUT", "x")).to.include({
      code: "TIMEOUT",
      name: "RedisSseError",
      message: "x",
    });
    for (const [error, code, name] of [
      [new ConfigError("x"), "CONFIG", "ConfigError"],
      [new PoolExhaustedError("x"), "POOL_EXHAUSTED", "PoolExhaustedError"],
    ] as const)
      expect(error).to.be.instanceOf(RedisSseError).and.instanceOf(Error).and.include({ code, name });
  });
});

describe("sanitize()", () => {
  it("returns an error of this library unchanged", () => {
    const error = new ConfigError("expected retryMs");
    expect(sanitize(error)).to.equal(error);
  });

  const network = (code: string): Error => withFields({ code }, `connect ${code} ${SECRET}`);
  const known = [
    [replyError("NOAUTH Authentication required."), "REDIS_AUTH"],
    [replyError("WRONGPASS invalid username-password pair"), "REDIS_AUTH"],
    [replyError("ERR invalid password"), "REDIS_AUTH"],
    [replyError("NOPERM No permissions to access a channel"), "REDIS_REFUSED"],
    [replyError("OOM command not allowed when used memory"), "REDIS_REFUSED"],
    [replyError("TRYAGAIN Multiple keys request during rehashing of slot"), "REDIS_UNAVAILABLE"],
    [replyError("ASK 866 127.0.0.1:7001"), "REDIS_UNAVAILABLE"],
    [replyError("CLUSTERDOWN The cluster is down"), "REDIS_UNAVAILABLE"],
    [replyError("MOVED 866 127.0.0.1:7001"), "CONFIG"],
    [new Error("Too many Cluster redirections. Last error: ReplyError: MOVED 866"), "REDIS_UNAVAILABLE"],
    [named("ClusterAllFailedError", "Failed to refresh slots cache."), "REDIS_UNAVAILABLE"],
    [new Error("None of startup nodes is available"), "REDIS_UNAVAILABLE"],
    [new Error("Cluster is ended."), "REDIS_UNAVAILABLE"],
    [new Error("Cluster isn't ready and enableOfflineQueue options is false"), "REDIS_UNAVAILABLE"],
    [new Error("Node is disconnected"), "REDIS_UNAVAILABLE"],
    [new Error("Connection is closed."), "REDIS_UNAVAILABLE"],
    [new Error("Command timed out"), "REDIS_UNAVAILABLE"],
    [network("EPIPE"), "REDIS_UNAVAILABLE"],
    // A host with two addresses that both refuse.
    [withFields({ code: "ECONNREFUSED" }, ""), "REDIS_UNAVAILABLE"],
    [withFields({ code: "CERT_HAS_EXPIRED" }), "REDIS_UNAVAILABLE"],
    [named("MaxRetriesPerRequestError", "Reached the max"), "REDIS_UNAVAILABLE"],
    // An error of this process is not an error of Redis.
    [withFields({ code: "ERR_INVALID_ARG_TYPE" }, "it must be a string"), "INTERNAL"],
    [new Error("it did something odd"), "INTERNAL"],
  ] as const;
  for (const [error, code] of known) {
    it(`returns the code ${code} for: ${error.message}`, () => expect(sanitize(error).code).to.equal(code));
  }

  it('uses the searchable text "Too many connections" if Redis has reached its client limit', () => {
    const fault = sanitize(replyError("ERR max number of clients reached"));
    expect(fault.code).to.equal("REDIS_UNAVAILABLE");
    expect(fault.message).to.match(/^Too many connections/);
  });

  it("names the code of a network error but not the host", () => {
    expect(sanitize(network("ENOTFOUND")).message).to.equal("Redis cannot be reached (ENOTFOUND)");
  });

  for (const [word, text] of [
    ["READONLY", `READONLY You can't write against ${SECRET}`],
    ["ERR", `${SECRET} is wrong`],
    [
      "OOM",
      `${IN_SCRIPT}@user_script:8: @user_script: 8: -OOM command not allowed when used memory > 'maxmemory'.`,
    ],
    [
      "WRONGTYPE",
      `${IN_SCRIPT}@user_script:1: WRONGTYPE Operation against a key holding the wrong kind of value`,
    ],
    [
      "ERR",
      `${IN_SCRIPT}@user_script:1: @user_script: 1: The user executing the script can't run this command`,
    ],
    ["ERR", `${IN_SCRIPT}@user_script:1: ${SECRET}`],
    ["OOM", "@user_script: 1: -OOM command not allowed when used memory"],
  ] as const) {
    it(`keeps only the code ${word} of a Redis error: ${text.slice(-40)}`, () => {
      expect(sanitize(replyError(text)).message).to.equal(`Redis refused the command: ${word}`);
    });
  }

  const carriers = [
    ["the message", new Error(`AUTH failed for ${SECRET}`)],
    ["the command's arguments", withFields({ command: { name: "hello", args: ["3", "AUTH", "u", SECRET] } })],
    [
      "the input of a malformed URL",
      withFields({ input: `redis://u:${SECRET}@[bad`, code: "ERR_INVALID_URL" }),
    ],
    ["the cause", new Error("connect failed", { cause: new Error(SECRET) })],
    ["the code", withFields({ code: SECRET })],
    ["the name", named(SECRET, "anything")],
    ["a thrown string", SECRET],
    ["a thrown object", { message: SECRET, toString: () => SECRET }],
  ] as const;
  for (const [where, error] of carriers) {
    it(`removes a secret in ${where}`, () => {
      const fault = sanitize(error);
      const shown = [
        inspect(fault, { depth: Infinity, showHidden: true }),
        JSON.stringify(fault),
        String(fault),
        String(fault.stack),
      ];
      expect(shown.join("\n")).not.to.contain(SECRET);
      expect(fault).not.to.have.any.keys("command", "input", "cause", "errors");
    });
  }

  for (const value of [undefined, null, 0, "", Symbol("x"), {}, { message: 5 }, () => {}]) {
    it(`returns an INTERNAL error for a thrown ${inspect(value)}`, () => {
      expect(sanitize(value)).to.be.instanceOf(RedisSseError).and.to.include({ code: "INTERNAL" });
    });
  }
});

describe("subscribeFault()", () => {
  it("returns SUBSCRIBE_REFUSED if a Redis ACL rule denies the channel", () => {
    const fault = subscribeFault(replyError(`NOPERM No permissions to access ${SECRET}`));
    expect(fault).to.include({ code: "SUBSCRIBE_REFUSED" });
    expect(fault.message).not.to.contain(SECRET);
  });

  it("returns another code for every other error", () => {
    expect(subscribeFault(replyError("LOADING Redis is loading"))).to.include({ code: "REDIS_REFUSED" });
    expect(subscribeFault(replyError("NOAUTH Authentication required."))).to.include({ code: "REDIS_AUTH" });
    expect(subscribeFault(new Error("Connection is closed."))).to.include({ code: "REDIS_UNAVAILABLE" });
  });
});

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

/** Returns an error like redis-parser does for a reply that starts with a minus. */
function replyError(message: string): Error {
  return named("ReplyError", message);
}

function withFields(fields: Record<string, unknown>, message = "it failed"): Error {
  return Object.assign(new Error(message), fields);
}

describe("RedisSseError.retryable", () => {
  it("is true for temporary errors and false for permanent ones", () => {
    for (const code of ["REDIS_UNAVAILABLE", "TIMEOUT", "POOL_EXHAUSTED", "LIMIT_SESSIONS"] as const) {
      expect(new RedisSseError(code, "x").retryable, code).to.equal(true);
    }
    for (const code of ["CONFIG", "FORBIDDEN", "COMPLETED", "CLOSED", "REDIS_AUTH", "INTERNAL"] as const) {
      expect(new RedisSseError(code, "x").retryable, code).to.equal(false);
    }
  });

  it("is false for an unknown code from a JavaScript caller", () => {
    expect(new RedisSseError("MY_CODE" as "CONFIG", "x").retryable).to.equal(false);
  });

  it("depends on the Redis error code if Redis rejected the command", () => {
    const refused = (text: string) => sanitize(replyError(text)).retryable;
    expect(refused("OOM command not allowed when used memory > 'maxmemory'.")).to.equal(true);
    expect(refused("READONLY You can't write against a read only replica.")).to.equal(true);
    expect(refused("NOPERM this user has no permissions")).to.equal(false);
    expect(refused("ERR unknown command")).to.equal(false);
  });
});
