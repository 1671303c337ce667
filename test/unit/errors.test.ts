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

describe("RedisSseError", () => {
  it("carries its code, and the name of its class", () => {
    expect(new RedisSseError("TIMEOUT", "too late")).to.include({
      code: "TIMEOUT",
      name: "RedisSseError",
      message: "too late",
    });
    expect(new ConfigError("expected x")).to.include({ code: "CONFIG", name: "ConfigError" });
    expect(new PoolExhaustedError("full")).to.include({ code: "POOL_EXHAUSTED", name: "PoolExhaustedError" });
  });

  it("is an Error, and so are those derived from it", () => {
    expect(new ConfigError("x")).to.be.instanceOf(RedisSseError).and.instanceOf(Error);
    expect(new PoolExhaustedError("x")).to.be.instanceOf(RedisSseError);
  });
});

describe("sanitize()", () => {
  it("answers an error of this library as it is", () => {
    const error = new ConfigError("expected retryMs");
    expect(sanitize(error)).to.equal(error);
  });

  const known = [
    ["a missing password", replyError("NOAUTH Authentication required."), "REDIS_AUTH"],
    ["a wrong password", replyError("WRONGPASS invalid username-password pair"), "REDIS_AUTH"],
    ["a wrong password on an old server", replyError("ERR invalid password"), "REDIS_AUTH"],
    ["what the ACL denies", replyError("NOPERM No permissions to access a channel"), "REDIS_REFUSED"],
    ["maxclients", replyError("ERR max number of clients reached"), "REDIS_UNAVAILABLE"],
    ["a server without memory", replyError("OOM command not allowed when used memory"), "REDIS_REFUSED"],
    [
      "a slot that is being moved",
      replyError("TRYAGAIN Multiple keys request during rehashing of slot"),
      "REDIS_UNAVAILABLE",
    ],
    ["a slot that asks elsewhere", replyError("ASK 866 127.0.0.1:7001"), "REDIS_UNAVAILABLE"],
    ["a cluster without a master", replyError("CLUSTERDOWN The cluster is down"), "REDIS_UNAVAILABLE"],
    ["a node that is not all of its cluster", replyError("MOVED 866 127.0.0.1:7001"), "CONFIG"],
    [
      "a cluster that sends from node to node",
      new Error("Too many Cluster redirections. Last error: ReplyError: MOVED 866 127.0.0.1:7001"),
      "REDIS_UNAVAILABLE",
    ],
    [
      "a cluster that does not tell its slots",
      withFields({ name: "ClusterAllFailedError" }, "Failed to refresh slots cache."),
      "REDIS_UNAVAILABLE",
    ],
    [
      "a cluster of which no node answers",
      new Error("None of startup nodes is available"),
      "REDIS_UNAVAILABLE",
    ],
    ["a cluster that was ended", new Error("Cluster is ended."), "REDIS_UNAVAILABLE"],
    [
      "a cluster that is not ready",
      new Error("Cluster isn't ready and enableOfflineQueue options is false"),
      "REDIS_UNAVAILABLE",
    ],
    ["a node without a connection", new Error("Node is disconnected"), "REDIS_UNAVAILABLE"],
    ["a closed connection", new Error("Connection is closed."), "REDIS_UNAVAILABLE"],
    ["a command that timed out", new Error("Command timed out"), "REDIS_UNAVAILABLE"],
    [
      "a refused connection",
      withFields({ code: "ECONNREFUSED" }, "connect ECONNREFUSED 127.0.0.1:6379"),
      "REDIS_UNAVAILABLE",
    ],
    ["a broken pipe", withFields({ code: "EPIPE" }, "write EPIPE"), "REDIS_UNAVAILABLE"],
    [
      "an unknown host",
      withFields({ code: "ENOTFOUND" }, "getaddrinfo ENOTFOUND redis.internal"),
      "REDIS_UNAVAILABLE",
    ],
    [
      "a host with two addresses that both refuse",
      withFields({ code: "ECONNREFUSED" }, ""),
      "REDIS_UNAVAILABLE",
    ],
    ["a certificate that has expired", withFields({ code: "CERT_HAS_EXPIRED" }), "REDIS_UNAVAILABLE"],
    ["retries that ran out", named("MaxRetriesPerRequestError", "Reached the max"), "REDIS_UNAVAILABLE"],
    ["anything else", new Error("it did something odd"), "INTERNAL"],
  ] as const;
  for (const [what, error, code] of known) {
    it(`tells ${what} by the code ${code}`, () => {
      expect(sanitize(error).code).to.equal(code);
    });
  }

  it("says that there are too many connections, as an operator searches for it", () => {
    expect(sanitize(replyError("ERR max number of clients reached")).message).to.match(
      /^Too many connections/,
    );
  });

  it("names the constant of a network fault, which says what is wrong and nothing of whom", () => {
    const error = withFields({ code: "ENOTFOUND" }, `getaddrinfo ENOTFOUND ${SECRET}`);
    expect(sanitize(error).message).to.equal("Redis cannot be reached (ENOTFOUND)");
  });

  it("does not blame Redis for a fault of this process", () => {
    const error = Object.assign(new TypeError("it must be a string"), { code: "ERR_INVALID_ARG_TYPE" });
    expect(sanitize(error)).to.include({ code: "INTERNAL" });
  });

  it("keeps the code word of a Redis error, and nothing after it", () => {
    const fault = sanitize(replyError(`READONLY You can't write against ${SECRET}`));
    expect(fault.message).to.equal("Redis refused the command: READONLY");
  });

  for (const [word, text] of [
    ["OOM", "@user_script:8: @user_script: 8: -OOM command not allowed when used memory > 'maxmemory'."],
    ["READONLY", "@user_script:8: @user_script: 8: -READONLY You can't write against a read only replica."],
    ["WRONGTYPE", "@user_script:1: WRONGTYPE Operation against a key holding the wrong kind of value"],
    ["ERR", "@user_script:1: @user_script: 1: The user executing the script can't run this command"],
    ["ERR", `@user_script:1: ${SECRET}`],
  ] as const) {
    it(`finds ${word} in what Redis 6.2 says of a command in a script: ${text.slice(0, 40)}`, () => {
      const fault = sanitize(replyError(`ERR Error running script (call to f_${"0a".repeat(20)}): ${text}`));
      expect(fault.message).to.equal(`Redis refused the command: ${word}`);
    });
  }

  it("finds the code word of an error that a script of Redis 6.2 answers", () => {
    const fault = sanitize(replyError("@user_script: 1: -OOM command not allowed when used memory"));
    expect(fault.message).to.equal("Redis refused the command: OOM");
  });

  it("keeps no word of a Redis error that does not begin with a code", () => {
    expect(sanitize(replyError(`${SECRET} is wrong`)).message).to.equal("Redis refused the command: ERR");
  });

  const carriers = [
    ["the message", new Error(`AUTH failed for ${SECRET}`)],
    ["the message of an authentication fault", replyError(`WRONGPASS invalid ${SECRET}`)],
    ["the message of a connection fault", new Error(`connect ECONNREFUSED redis://u:${SECRET}@h`)],
    ["the message of an ACL fault", replyError(`NOPERM user ${SECRET} has no permissions`)],
    ["the command's arguments", withFields({ command: { name: "hello", args: ["3", "AUTH", "u", SECRET] } })],
    [
      "the input of a malformed URL",
      withFields({ input: `redis://u:${SECRET}@[bad`, code: "ERR_INVALID_URL" }),
    ],
    ["the cause", new Error("connect failed", { cause: new Error(SECRET) })],
    ["the code", withFields({ code: SECRET })],
    ["the name", named(SECRET, "anything")],
    ["an aggregate's errors", new AggregateError([new Error(SECRET)], "all failed")],
    ["a thrown string", SECRET],
    ["a thrown object", { message: SECRET, toString: () => SECRET }],
  ] as const;
  for (const [where, error] of carriers) {
    it(`keeps nothing of a secret in ${where}`, () => {
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
    it(`makes an internal error of a thrown ${inspect(value)}`, () => {
      expect(sanitize(value)).to.be.instanceOf(RedisSseError).and.to.include({ code: "INTERNAL" });
    });
  }
});

describe("subscribeFault()", () => {
  it("tells that the ACL does not admit the channel", () => {
    const fault = subscribeFault(replyError(`NOPERM No permissions to access ${SECRET}`));
    expect(fault).to.include({ code: "SUBSCRIBE_REFUSED" });
    expect(fault.message).not.to.contain(SECRET);
  });

  it("takes no other fault for a refusal of the channel", () => {
    expect(subscribeFault(replyError("LOADING Redis is loading"))).to.include({ code: "REDIS_REFUSED" });
    expect(subscribeFault(replyError("NOAUTH Authentication required."))).to.include({ code: "REDIS_AUTH" });
    expect(subscribeFault(new Error("Connection is closed."))).to.include({ code: "REDIS_UNAVAILABLE" });
  });
});

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

/** As redis-parser makes them of a reply that begins with a minus. */
function replyError(message: string): Error {
  return named("ReplyError", message);
}

function withFields(fields: Record<string, unknown>, message = "it failed"): Error {
  return Object.assign(new Error(message), fields);
}

describe("RedisSseError.retryable", () => {
  it("is true for a fault that passes, and false for one that stays", () => {
    for (const code of ["REDIS_UNAVAILABLE", "TIMEOUT", "POOL_EXHAUSTED", "LIMIT_SESSIONS"] as const) {
      expect(new RedisSseError(code, "x").retryable, code).to.equal(true);
    }
    for (const code of ["CONFIG", "FORBIDDEN", "COMPLETED", "CLOSED", "REDIS_AUTH", "INTERNAL"] as const) {
      expect(new RedisSseError(code, "x").retryable, code).to.equal(false);
    }
  });

  it("is false for a code that only a caller in JavaScript knows", () => {
    expect(new RedisSseError("MY_CODE" as "CONFIG", "x").retryable).to.equal(false);
  });

  it("depends on Redis' own code where Redis refused the command", () => {
    const refused = (text: string) =>
      sanitize(Object.assign(new Error(text), { name: "ReplyError" })).retryable;
    expect(refused("OOM command not allowed when used memory > 'maxmemory'.")).to.equal(true);
    expect(refused("READONLY You can't write against a read only replica.")).to.equal(true);
    expect(refused("NOPERM this user has no permissions")).to.equal(false);
    expect(refused("ERR unknown command")).to.equal(false);
  });
});
