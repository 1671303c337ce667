import { stripVTControlCharacters } from "node:util";

import { expect } from "chai";
import type { Redis } from "ioredis";
import { restore, stub } from "sinon";

import type { RedisSse, RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults, type FaultRig } from "../support/fault-rig.js";
import { captureLog, faultOf } from "../support/service.js";
import { createUser } from "../support/fault-steps.js";

/** The deadline of a stage. A hanging stage takes this long. */
const STAGE_MS = 40;

/** How a stage can behave. An `error` event of ioredis must not affect it. */
const HOWS = ["works", "rejects", "hangs", "throws", "works, after an error event"] as const;
type How = (typeof HOWS)[number];

/** The last stage is synchronous. It can throw by itself, or because ioredis cannot disconnect. */
const RESET_HOWS = ["works", "throws", "cannot disconnect", "works, after an error event"] as const;
type ResetHow = (typeof RESET_HOWS)[number];

const SECRET = "hunter2";

describeFaults("the stages of a teardown, dedicated", (rig) => {
  afterEach(restore);

  for (const unsubscribe of HOWS) {
    it(`all run and leave nothing if unsubscribe ${unsubscribe}, whatever close and reset do`, async () => {
      const service = start(rig, { subscriptions: "dedicated" });
      const calls: string[] = [];
      let next: { readonly quit: How; readonly reset: ResetHow };
      spoilLeases(service, calls, () => ({ unsubscribe, ...next }));
      for (const quit of HOWS) {
        for (const reset of RESET_HOWS) {
          next = { quit, reset };
          const what = `unsubscribing ${unsubscribe}, closing ${quit}, resetting ${reset}`;
          calls.length = 0;
          const log = captureLog("redis-sse:session");
          try {
            const sink = rig.sink();
            const session = await service.open({ key: "admin" }, sink, "a");
            expect(service.pool.statistics.inUse, what).to.equal(1);
            sink.leave();
            // Further close() calls return the same promise and change nothing.
            expect(session.close("app")).to.equal(session.close("revoked"));
            await session.closed;
            expect(session.closeReason, what).to.equal("client-gone");
            expect(calls.slice(0, 3), what).to.deep.equal(["unsubscribe", "quit", "release"]);
            // A connection that QUIT has already ended needs no disconnect.
            expect(calls.slice(3), what).to.deep.equal(
              reset === "cannot disconnect" && !(quit.startsWith("works") && calls.length === 3)
                ? ["disconnect"]
                : [],
            );
            expect(service.pool.statistics, what).to.deep.include({ inUse: 0, waiting: 0, leases: [] });
          } finally {
            log.restore();
          }
          expect(sseLines(log.lines), what).to.deep.equal([
            "create PubSub connection: user=admin, channel=a",
            "subscribed: a",
            "client disconnected: user=admin, 0 messages sent",
            "cleaning up PubSub connection: user=admin",
            unsubscribe.startsWith("works")
              ? "unsubscribed: a"
              : `unsubscribe failed, closing anyway: ${failureOf("unsubscribe", unsubscribe)}`,
            ...(quit.startsWith("works")
              ? []
              : [`close failed, resetting anyway: ${failureOf("close", quit)}`]),
            ...(reset === "throws" ? ["reset failed: Redis cannot be reached"] : []),
            ...(calls.includes("disconnect") ? ["reset failed: an unexpected error"] : []),
            "PubSub connection closed: user=admin",
          ]);
          expect(log.lines.join("\n"), what).to.not.contain(SECRET);
          await eventually(async () =>
            expect(await rig.server.connections(), what).to.not.include("redis-sse:lease"),
          );
        }
      }
    });
  }

  it("leave a listener for late errors", async () => {
    const service = start(rig, { subscriptions: "dedicated" });
    const clients = spoilLeases(service, [], () => ({
      unsubscribe: "works",
      quit: "works",
      reset: "works",
    }));
    const session = await service.open({}, rig.sink(), "a");
    await session.close();
    // Without a listener an EventEmitter would throw it here.
    expect(clients[0]!.emit("error", new Error(SECRET))).to.equal(true);
    expect(clients[0]!.listenerCount("message") + clients[0]!.listenerCount("end")).to.equal(0);
  });
});

describeFaults("the stages of a teardown, shared", (rig) => {
  afterEach(restore);

  for (const how of ["rejects", "hangs", "throws"] as const) {
    it(`end this stream at once, and no other, if the hub's UNSUBSCRIBE ${how}`, async () => {
      const service = start(rig);
      const [leaving, staying] = [rig.sink(), rig.sink()];
      const session = await service.open({ key: "admin" }, leaving, "a");
      await service.open({}, staying, "b");
      const log = captureLog("redis-sse:session");
      const unsubscribe = stub(service.pool.subscriber as Redis, "unsubscribe").callsFake(() => fail(how));
      try {
        leaving.leave();
        await session.closed;
      } finally {
        log.restore();
      }
      expect(sseLines(log.lines)).to.deep.equal([
        "client disconnected: user=admin, 0 messages sent",
        "cleaning up PubSub connection: user=admin",
        "unsubscribed: a",
        "PubSub connection closed: user=admin",
      ]);
      // The command is sent some time after the last stream has left.
      await eventually(() => expect(unsubscribe.callCount).to.equal(1));
      await rig.server.admin.publish("b", "still served");
      await eventually(() => expect(staying.text).to.include("still served"));
      // The server drops the subscription with the connection.
      restore();
      await rig.server.killSubscribers();
      await eventually(() => expect(staying.text).to.include("interrupted"), 10_000);
      expect(await rig.server.activeChannels()).to.deep.equal(["b"]);
    });
  }
});

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(`the debug output of a stream, ${subscriptions}`, (rig) => {
    it("has the lines of the original app for a stream that Redis refuses", async () => {
      const service = start(rig, { redis: await createUser(rig), subscriptions });
      const log = captureLog("redis-sse:session");
      try {
        const fault = await faultOf(service.open({ key: "admin" }, rig.sink(), "notifications:admin"));
        await eventually(() => expect(log.lines).to.have.length(7));
        const { message } = fault as Error;
        expect(message).to.equal("A Redis ACL rule denied the channel.");
        expect(sseLines(log.lines)).to.deep.equal([
          "create PubSub connection: user=admin, channel=notifications:admin",
          `subscribe failed: ${message}`,
          "PubSub connection closed after the failed subscribe",
          `connection error: ${message}`,
          "cleaning up PubSub connection: user=admin",
          "unsubscribe failed, closing anyway: no channel was subscribed",
          "PubSub connection closed: user=admin",
        ]);
      } finally {
        log.restore();
      }
    });
  });
}

function start(rig: FaultRig, options: RedisSseOptions = {}): RedisSse {
  return rig.connect({ limits: { closeTimeoutMs: STAGE_MS }, ...options });
}

interface Spoiled {
  readonly unsubscribe: How;
  readonly quit: How;
  readonly reset: ResetHow;
}

/** Makes the teardown stages of future leases misbehave, and records their calls. */
function spoilLeases(service: RedisSse, calls: string[], spoiled: () => Spoiled): readonly Redis[] {
  const clients: Redis[] = [];
  const lease = service.pool.lease.bind(service.pool);
  stub(service.pool, "lease").callsFake(async (request) => {
    const leased = await lease(request);
    const client = leased.client as Redis;
    const { unsubscribe, quit, reset } = spoiled();
    clients.push(client);
    const spoil = (name: "unsubscribe" | "quit", how: How): void => {
      const work = client[name].bind(client) as (...args: unknown[]) => Promise<never>;
      stub(client, name).callsFake((...args: unknown[]) => {
        calls.push(name);
        if (how === "works, after an error event") client.emit("error", new Error(SECRET));
        return how.startsWith("works") ? work(...args) : fail(how);
      });
    };
    spoil("unsubscribe", unsubscribe);
    spoil("quit", quit);
    const release = leased.release.bind(leased);
    stub(leased, "release").callsFake(() => {
      calls.push("release");
      if (reset === "works, after an error event") client.emit("error", new Error(SECRET));
      release();
      if (reset === "throws") throw new Error(`Connection is closed. ${SECRET}`);
    });
    if (reset === "cannot disconnect") {
      stub(client, "disconnect").callsFake(() => {
        calls.push("disconnect");
        throw new Error(SECRET);
      });
    }
    return leased;
  });
  return clients;
}

function fail(how: How): Promise<never> {
  const error = new Error(`Connection is closed. ${SECRET}`);
  if (how === "rejects") return Promise.reject(error);
  if (how === "hangs") return new Promise(() => {});
  throw error;
}

function failureOf(stage: string, how: How): string {
  return how === "hangs"
    ? `Timed out after ${STAGE_MS} ms while waiting for ${stage} to end.`
    : "Redis cannot be reached";
}

/** Lines of `debug` without colors, time, namespace and the `[SSE]` mark. */
function sseLines(lines: readonly string[]): readonly string[] {
  return lines.map((line) =>
    stripVTControlCharacters(line)
      .replace(/^.*?redis-sse:session \[SSE\] /s, "")
      .replace(/ \+\d+\w+$/, ""),
  );
}
