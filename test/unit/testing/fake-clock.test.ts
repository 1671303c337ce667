import { expect } from "chai";

import { sseStream, type SseStreamOptions } from "../../../middleware/express.js";
import {
  collect,
  createTestSse,
  FakeClock,
  type TestSse,
  type TestSseOptions,
} from "../../../testing/index.js";
import { eventually } from "../../support/eventually.js";
import { expectFault, faultOf } from "../../support/service.js";
import { startApp, type TestApp } from "../../support/test-app.js";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

describe("FakeClock", () => {
  let clock: FakeClock;

  beforeEach(() => {
    clock = new FakeClock(0);
  });

  it("runs timers at their time and in order, including timers that other timers and promises set", async () => {
    const seen: string[] = [];
    const see = (what: string): void => void seen.push(`${what} ${clock.now()}`);
    clock.schedule(() => see("late"), 100);
    clock.schedule(() => {
      see("early");
      void Promise.resolve().then(() => clock.schedule(() => see("chained"), 10));
    }, 20);
    clock.schedule(() => see("cancelled"), 50)();
    await clock.advance(99);
    expect(seen).to.deep.equal(["early 20", "chained 30"]);
    expect(clock.pending).to.equal(1);
    await clock.advance(1);
    expect(seen.at(-1)).to.equal("late 100");
    expect(clock.now()).to.equal(100);
  });

  it("starts at a date and rejects an invalid time", async () => {
    expect(new FakeClock(new Date("2030-01-01")).now()).to.equal(Date.UTC(2030, 0));
    expect(() => new FakeClock(new Date("never")))
      .to.throw()
      .with.property("code", "CONFIG");
    for (const ms of [-1, NaN, Infinity]) expectFault(await faultOf(clock.advance(ms)), "CONFIG", String(ms));
  });
});

describe("createTestSse() with a FakeClock", () => {
  let clock: FakeClock;
  let sse: TestSse;

  const create = (options: TestSseOptions = {}): void => {
    clock = new FakeClock(Date.UTC(2030, 0));
    sse = createTestSse({ ...options, clock });
  };

  /** An app whose only stream has the channel "a". */
  const mount = (options: SseStreamOptions = {}): Promise<TestApp> =>
    startApp(
      (router) =>
        void router.get(
          "/",
          sseStream(() => "a", { service: sse, ...options }),
        ),
    );

  afterEach(() => sse.close());

  it("sends heartbeats and closes a stream after maxLifetimeMs", async () => {
    create({ heartbeatMs: 15_000, limits: { maxLifetimeMs: 5 * MINUTE_MS } });
    const app = await mount();
    const response = await fetch(app.url);
    const reader = response.body!.getReader();
    let text = "";
    const read = async (wanted: string): Promise<void> => {
      while (!text.includes(wanted)) {
        const { done, value } = await reader.read();
        expect(done, `the end of ${text}`).to.equal(false);
        text += Buffer.from(value).toString();
      }
    };
    await read("event: connected");
    await clock.advance(20_000);
    await read("\n:\n");
    await clock.advance(5 * MINUTE_MS);
    await read('{"reason":"max-lifetime"}');
    await app.close();
  });

  it("retries tasks and follows their delays and schedules", async () => {
    create();
    const runs: string[] = [];
    const queue = sse.queue("work");
    queue.worker(
      async ({ task }) => {
        runs.push(`${task.kind} ${task.attempt}`);
        if (task.attempt < 3 && task.kind === "failing") throw new Error("again");
      },
      { onError: () => {} },
    );
    await queue.enqueue("failing", null, { attempts: 3 });
    await queue.enqueue("delayed", null, { delayMs: 20 * MINUTE_MS });
    await queue.schedule("now-and-then", { everyMs: 10 * MINUTE_MS }, "scheduled", null);
    await clock.advance(5 * MINUTE_MS);
    expect(runs).to.deep.equal(["failing 1", "failing 2", "failing 3"]);
    await clock.advance(17 * MINUTE_MS);
    expect(runs.slice(3)).to.have.members(["delayed 1", "scheduled 1", "scheduled 1"]);
  });

  it("gives the task of a disconnected worker to another worker after its lease expires", async () => {
    create();
    const other = createTestSse({ redis: sse.redis });
    const held: string[] = [];
    const hold = (name: string) => async (): Promise<void> => {
      held.push(name);
      await new Promise(() => {});
    };
    sse.queue("q").worker(hold("first"), { leaseMs: 30_000, onFault: () => {} });
    const { id } = await sse.queue("q").enqueue("work", null);
    await eventually(() => expect(held).to.deep.equal(["first"]));
    // Simulates a crashed process: its connection ends and the lease is not renewed.
    sse.pool.commands.disconnect();
    other.queue("q").worker(hold("second"), { leaseMs: 30_000 });
    await clock.advance(20_000);
    expect(held).to.deep.equal(["first"]);
    await clock.advance(40_000);
    expect(held).to.deep.equal(["first", "second"]);
    expect((await other.queue("q").get(id))?.attempt).to.equal(2);
    await other.queue("q").cancel(id);
    await other.close();
  });

  it("drops the history of a channel after maxAgeMs", async () => {
    create({ history: { maxAgeMs: HOUR_MS } });
    const { id } = await sse.publish("a", { data: 1 });
    const app = await mount({ from: "earliest" });
    const eventsOf = async (): Promise<readonly unknown[]> => {
      const stream = await collect(app.url);
      await stream.event("connected");
      await sse.publish("a", { data: "last" }, { history: false });
      const events: unknown[] = [];
      while (events.at(-1) !== "last") events.push((await stream.next()).data);
      await stream.close();
      return events;
    };
    expect(await eventsOf()).to.deep.equal([1, "last"]);
    await clock.advance(2 * HOUR_MS);
    expect(await eventsOf()).to.deep.equal(["last"]);
    expect(id).to.be.a("string");
    await app.close();
  });

  it("times out commands and drops the connection if Redis is frozen", async () => {
    create();
    const app = await mount();
    const stream = await collect(app.url);
    await stream.event("connected");
    sse.redis.pause();
    const publishing = faultOf(sse.publish("a", { data: 1 }));
    await clock.advance(5_000);
    expectFault(await publishing, "REDIS_UNAVAILABLE");
    // The subscriber connection detects it with a PING.
    await clock.advance(15_000);
    const heard = sse.status({ drift: false });
    await clock.advance(5_000);
    expect((await heard).hub.connected).to.equal(false);
    sse.redis.resume();
    await clock.advance(0);
    await sse.publish("a", { data: 2 });
    expect((await stream.next()).data).to.equal(2);
    expect(stream.control).to.have.length(1);
    await app.close();
  });

  it("delays commands by the latency and keeps their order", async () => {
    create();
    sse.redis.setLatency(300);
    const seen: string[] = [];
    for (const name of ["first", "second"]) void sse.publish(name, { data: 1 }).then(() => seen.push(name));
    await clock.advance(299);
    expect(seen).to.deep.equal([]);
    await clock.advance(1);
    expect(seen).to.deep.equal(["first", "second"]);
  });

  it("closes without an advance of the clock while Redis is unavailable and a task never ends", async () => {
    create();
    sse.queue("q").worker(() => new Promise(() => {}), { onFault: () => {} });
    await sse.queue("q").enqueue("work", null);
    await eventually(() => expect(sse.queue("q").statistics.running).to.equal(1));
    sse.redis.stop();
    await sse.close();
    expect(clock.pending).to.equal(0);
  });
});
