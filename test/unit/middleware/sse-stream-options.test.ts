import { expect } from "chai";

import { ConfigError, createRedisSse } from "../../../lib/index.js";
import { redisPoolStatus, sseStream, taskCancel, taskStream } from "../../../middleware/express.js";

const make = (options: Record<string, unknown>) => (): unknown => sseStream(() => "a", options);

describe("sseStream() options", () => {
  it("rejects methods unless they are a non-empty array of upper-case HTTP methods", () => {
    for (const methods of ["POST", [], null, {}, ["post"], ["POST", "PSOT"], ["POST", 7], [""]]) {
      expect(make({ methods })).to.throw(ConfigError, "methods");
      expect(() => taskStream(() => "a", { methods } as never)).to.throw(ConfigError, "methods");
    }
    for (const methods of [["POST"], ["GET", "PUT", "M-SEARCH"], undefined]) {
      expect(make({ methods })).not.to.throw();
      expect(() => taskStream(() => "a", { methods })).not.to.throw();
    }
  });

  it("reports the expected value and the given value", () => {
    const said: [Record<string, unknown>, string][] = [
      [{ heartbeatMs: 0 }, "expected heartbeatMs as a whole number from 1 to 2147483647, or false, got 0"],
      [{ retryMs: 1.5 }, "expected retryMs as a whole number from 1 to 2147483647, got 1.5"],
      [{ from: "0" }, 'expected from as "now" or "earliest", got a string'],
      [{ onUnavailable: 503 }, 'expected onUnavailable as "event" or "status", got 503'],
      [{ onLimit: 429 }, 'expected onLimit as "event", "status" or "evict-oldest", got 429'],
      [
        { revalidate: { everyMs: 0, check: () => true } },
        "expected revalidate.everyMs as a whole number from 1 to 2147483647, got 0",
      ],
      [
        { revalidate: { everyMs: 1, check: () => true, period: 1 } },
        'expected revalidate to have only everyMs, check, onError; got "period"',
      ],
      [{ filter: null }, "expected filter as a function, got null"],
      [{ key: "user" }, "expected key as a function, got a string"],
      [{ until: ["done"] }, "expected until as a function, got an array"],
      [{ service: {} }, "expected service as the return value of createRedisSse(), got an object"],
      [{ service: undefined }, "expected service as the return value of createRedisSse(), got undefined"],
      [
        { service: Promise.resolve() },
        "expected service as the return value of createRedisSse(), got a promise. Await it.",
      ],
    ];
    for (const [options, message] of said) {
      expect(make(options), message).to.throw(ConfigError).with.property("message", message);
    }
    expect(() => taskStream(() => "a", { onLimit: 429 as never })).to.throw(ConfigError, "onLimit");
    expect(() => taskStream(() => "a", { revalidate: {} as never })).to.throw(ConfigError, "revalidate");
    expect(make({ filter: async () => true })).to.throw(ConfigError, "filter as a synchronous function");
  });

  it("rejects a resume policy that needs a secret if the service has none", async () => {
    const service = createRedisSse();
    const signed = createRedisSse({ secret: "x".repeat(32) });
    for (const resume of ["since-admission", { maxAgeMs: 1_000 }]) {
      expect(make({ service, resume })).to.throw(ConfigError, "needs the option secret of createRedisSse()");
      expect(make({ service: signed, resume })).not.to.throw();
      expect(make({ resume }), "the default service is created at the first request").not.to.throw();
    }
    const large = createRedisSse({ secret: "x".repeat(32), limits: { maxChannelsPerSession: 161 } });
    const atMost = "needs limits.maxChannelsPerSession of at most 160, got 161";
    expect(make({ service: large, resume: "since-admission" })).to.throw(ConfigError, atMost);
    for (const resume of ["all", false]) expect(make({ service, resume })).not.to.throw();
    await Promise.all([service, signed, large].map((each) => each.close()));
  });

  it("rejects a service in place of the options and says how to pass it", async () => {
    const sse = createRedisSse();
    const said = "expected an object with options, got a service. Pass { service: sse }.";
    const resolver = (): null => null;
    const options = sse as object;
    expect(() => sseStream(resolver, options))
      .to.throw(ConfigError)
      .with.property("message", said);
    for (const mount of [taskStream, taskCancel])
      expect(() => mount(resolver, options))
        .to.throw(ConfigError)
        .with.property("message", said);
    const status = options as Parameters<typeof redisPoolStatus>[0];
    expect(() => redisPoolStatus(status))
      .to.throw(ConfigError)
      .with.property("message", said);
    await sse.close();
  });

  it("rejects a resolver or an authorize() that is not a function", () => {
    for (const call of [
      () => sseStream("a" as never),
      () => taskStream("a" as never),
      () => taskCancel("a" as never),
      () => redisPoolStatus({} as never),
    ])
      expect(call).to.throw(ConfigError, "function");
  });

  it("rejects a misspelled option", () => {
    expect(make({ slowconsumer: "latest" })).to.throw(ConfigError, "slowconsumer");
    expect(make({ filters: () => true })).to.throw(ConfigError, "filters");
    expect(() => taskCancel(() => "a", { methods: ["POST"] } as never)).to.throw(ConfigError, "methods");
  });
});
