import { expect } from "chai";

import { RedisSseError, type TaskHandler, type WorkerOptions } from "../../../../lib/index.js";
import { Worker } from "../../../../lib/queue/worker/worker.js";
import { settle } from "../../../support/eventually.js";
import { NOTHING, ScriptedPort } from "../../../support/scripted-port.js";

describe("Worker after an error of Redis", () => {
  let port: ScriptedPort;
  let told: RedisSseError[];
  let workers: Worker[];

  beforeEach(() => {
    port = new ScriptedPort();
    told = [];
    workers = [];
  });

  afterEach(async () => {
    for (const worker of workers) {
      const stopped = worker.stop({ graceMs: 0 });
      await settle();
      port.clock.advance(1_000);
      await stopped;
    }
    expect(port.clock.pending).to.equal(0);
  });

  const start = (handler: TaskHandler = () => {}, options: WorkerOptions = {}): void => {
    workers.push(new Worker(port, handler, { onFault: (fault) => told.push(fault), ...options }, () => {}));
  };

  const refuse =
    (code: RedisSseError["code"], message = "no") =>
    (): Promise<never> =>
      Promise.reject(new RedisSseError(code, message));

  it("reports claim errors once a minute for each code and message, and counts every error", async () => {
    for (let index = 0; index < 200; index++) port.claims.push(refuse("REDIS_REFUSED", "READONLY"));
    start();
    await settle();
    expect(told.map(({ code, message }) => [code, message])).to.deep.equal([["REDIS_REFUSED", "READONLY"]]);
    port.claims[0] = refuse("REDIS_UNAVAILABLE");
    port.claims[1] = refuse("REDIS_REFUSED", "NOPERM");
    for (let passedMs = 0; passedMs < 59_500; passedMs += 500) {
      port.clock.advance(500);
      await settle();
    }
    expect(told.map(({ message }) => message)).to.deep.equal(["READONLY", "no", "NOPERM"]);
    expect(port.faults).to.have.length(120);
    port.clock.advance(500);
    await settle();
    expect(told.map(({ message }) => message)).to.deep.equal(["READONLY", "no", "NOPERM", "READONLY"]);
    expect(port.lines).to.deep.equal([]);
  });

  for (const [what, arrange] of [
    ["renewing", () => (port.onRenew = refuse("REDIS_REFUSED"))],
    ["settling", () => (port.onSettle = refuse("REDIS_REFUSED"))],
    ["reporting", () => (port.onReport = refuse("REDIS_REFUSED"))],
    ["firing a schedule", () => (port.onFire = refuse("REDIS_REFUSED"))],
  ] as const) {
    it(`reports an error in ${what}`, async () => {
      arrange();
      port.claims.push(() =>
        Promise.resolve({ ...NOTHING, schedules: [{ name: "tick", due: 1, content: "" }] }),
      );
      port.give("a");
      start(
        async ({ progress, signal }) => {
          void progress(50);
          if (what === "renewing") await new Promise((resolve) => signal.addEventListener("abort", resolve));
        },
        { leaseMs: 3_000 },
      );
      for (const pauseMs of [500, 1_000]) {
        await settle();
        port.clock.advance(pauseMs);
      }
      await settle();
      expect(told.map(({ code }) => code)).to.deep.equal(["REDIS_REFUSED"]);
      expect(port.faults).to.include("REDIS_REFUSED");
    });
  }

  it("does not report that the service is closing", async () => {
    port.claims.push(refuse("CLOSED"));
    start();
    await settle();
    expect(told).to.deep.equal([]);
    expect(port.faults).to.deep.equal([]);
  });

  it("logs an error once for all workers of the queue if onFault is not set", async () => {
    for (let index = 0; index < 5; index++) port.claims.push(refuse("REDIS_REFUSED"));
    // The connection itself logs that Redis is unavailable.
    port.claims.push(refuse("REDIS_UNAVAILABLE"));
    for (let index = 0; index < 6; index++) start(() => {}, { onFault: undefined } as never);
    await settle();
    expect(port.lines).to.deep.equal([
      "warn redis-sse: the workers of queue q cannot use Redis: no (REDIS_REFUSED). They try again.",
    ]);
    expect(port.faults).to.have.length(6);
  });

  it("continues if onFault throws or rejects", async () => {
    const throwing: readonly (() => unknown)[] = [
      () => {
        throw null;
      },
      async () => Promise.reject(new Error("its own")),
    ];
    for (const onFault of throwing as readonly (() => void)[]) {
      port.claims.push(refuse("REDIS_UNAVAILABLE"));
      start(() => {}, { onFault });
      await settle();
    }
    port.give("a");
    port.clock.advance(500);
    await settle();
    expect(port.finishedIds).to.deep.equal(["a"]);
  });
});
