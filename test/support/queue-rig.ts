import { expect } from "chai";
import type { Redis } from "ioredis";

import {
  progressChannel,
  type PubSubSession,
  type QueueOptions,
  type QueueService,
  type RedisSse,
  type RedisSseOptions,
  type Task,
  type TaskContext,
  type TaskHandler,
  type TaskProgress,
  type TaskStatus,
  type Worker,
} from "../../lib/index.js";
import { lastIdIn, type ReceivedEvent } from "./event-reader.js";
import { deferred, eventually } from "./eventually.js";
import { FakeClock } from "./fake-clock.js";
import { FakeSink } from "./fake-sink.js";
import { listen, rawClient, type MakeService } from "./service.js";

/** The sets of a queue, by what their keys end with. */
export type QueueSet =
  "ready" | "delayed" | "leases" | "succeeded" | "failed" | "cancelled" | "due" | "unreadable";

/** A worker that took a task and is not heard of again: time stands still for it. */
export interface LostWorker {
  readonly clock: FakeClock;
  readonly context: TaskContext;
  readonly worker: Worker;
  /** What its handler returns, late. */
  readonly end: (result: unknown) => void;
}

/** A queue of a test's own on an empty server, and what the tests of queues do again and again. */
export interface QueueRig {
  readonly name: string;
  readonly sse: RedisSse;
  readonly queue: QueueService;
  /** Another program's client. */
  readonly raw: Redis;
  /** Never ends before the test does. */
  readonly hang: TaskHandler;
  /** Another service on the same server. */
  service(options?: RedisSseOptions): Promise<RedisSse>;
  /** The queue as another service has it. */
  elsewhere(options?: QueueOptions): Promise<QueueService>;
  /** What other programs hear of a task. */
  hear(taskId: string): ReturnType<typeof listen>;
  taskKey(id: string): string;
  key(set: QueueSet): string;
  /** The ids of a set, in their order. */
  members(set: QueueSet): Promise<readonly string[]>;
  /** Makes what is in a set long overdue: leases run out, delays are over. */
  expire(set: QueueSet, ...ids: string[]): Promise<void>;
  until(id: string, status: TaskStatus): Promise<Task>;
  takeAndVanish(leaseMs?: number, options?: QueueOptions): Promise<LostWorker>;
  /** Watches a task, as a browser does. */
  watch(id: string, lastEventId?: string, sse?: RedisSse): Promise<TaskWatcher>;
}

/** Sets the hooks of a suite, inside its `describe`. */
export function useQueue(makeService: MakeService): QueueRig {
  let rig!: QueueRig;
  let cleanUp: (() => Promise<unknown>)[] = [];
  let over = deferred();

  beforeEach(async () => {
    cleanUp = [];
    over = deferred();
    rig = await createRig(makeService, cleanUp, over.promise);
  });

  afterEach(async () => {
    over.resolve();
    for (const step of cleanUp) await step();
  });

  // Each test has a rig of its own, behind one object.
  return new Proxy({} as QueueRig, { get: (_, name) => rig[name as keyof QueueRig] });
}

let queues = 0;

async function createRig(
  makeService: MakeService,
  cleanUp: (() => Promise<unknown>)[],
  over: Promise<void>,
): Promise<QueueRig> {
  const name = `suite-${queues++}`;
  const service: QueueRig["service"] = async (options) => {
    const made = await makeService(options);
    cleanUp.push(() => made.stop());
    return made.sse;
  };
  const sse = await service();
  const queue = sse.queue(name);
  const raw = rawClient(sse);
  cleanUp.unshift(() => raw.quit());
  await raw.flushall();
  const key: QueueRig["key"] = (set) => `sse:queue:{tasks}:${name}:${set}`;
  const rig: QueueRig = {
    name,
    sse,
    queue,
    raw,
    hang: () => over,
    service,
    key,
    elsewhere: async (options) => (await service()).queue(name, options),
    async hear(taskId) {
      const heard = await listen(sse, progressChannel(taskId));
      cleanUp.unshift(() => heard.stop());
      return heard;
    },
    taskKey: (id) => `sse:task:{tasks}:${id}`,
    // Within a script: the mock fails on some replies of sorted sets.
    members: async (set) =>
      (await raw.eval("return redis.call('ZRANGE', KEYS[1], 0, -1)", 1, key(set))) as string[],
    async expire(set, ...ids) {
      await raw.zadd(key(set), ...ids.flatMap((id, index) => [index + 1, id]));
    },
    until: (id, status) =>
      eventually(async () => {
        const task = await queue.get(id);
        expect(task?.status, id).to.equal(status);
        return task!;
      }),
    async takeAndVanish(leaseMs = 30_000, options) {
      const clock = new FakeClock();
      const away = await service({ clock });
      const lost = away.queue(name, options);
      const end = deferred<unknown>();
      const contexts: TaskContext[] = [];
      const worker = lost.worker(
        (context) => {
          contexts.push(context);
          return Promise.race([end.promise, over]);
        },
        { leaseMs, pollMs: 1_000 },
      );
      await eventually(() => {
        if (contexts.length === 0) clock.advance(1_000); // it looks again
        expect(contexts, "tasks taken").to.have.length(1);
      });
      // It renews its lease once it can be woken: what was subscribed and asked after that says that this is over.
      const later = await away.open({}, new FakeSink(), "later");
      await lost.counts();
      await later.close();
      return { clock, context: contexts[0]!, worker, end: end.resolve };
    },
    async watch(id, lastEventId, by = sse) {
      const sink = new FakeSink();
      const session = await by.open({ lastEventId }, sink, progressChannel(id)).catch((error: unknown) => {
        // What was answered in place of a stream is a test's to judge.
        if (sink.answered === null) throw error;
        return null;
      });
      return new TaskWatcher(sink, session);
    },
  };
  return rig;
}

const CONTROL = new Set(["connected", "gap", "closing", "error"]);

/** Who watches one task. */
export class TaskWatcher {
  readonly sink: FakeSink;
  readonly #session: PubSubSession | null;

  constructor(sink: FakeSink, session: PubSubSession | null) {
    this.sink = sink;
    this.#session = session;
  }

  get session(): PubSubSession {
    expect(this.#session, "a stream").to.not.equal(null);
    return this.#session!;
  }

  /** Status of the answer that was given in place of a stream. */
  get answered(): number | undefined {
    return this.sink.answered?.status;
  }

  /** What came of the task, control events left out. */
  get events(): readonly ReceivedEvent[] {
    return this.sink.events.filter(({ event }) => !CONTROL.has(event));
  }

  get gaps(): readonly ReceivedEvent[] {
    return this.sink.events.filter(({ event }) => event === "gap");
  }

  /** What was told of its state. */
  get told(): readonly TaskProgress[] {
    return this.events
      .filter(({ event }) => event === "message")
      .map(({ data }) => JSON.parse(data) as TaskProgress);
  }

  get types(): readonly string[] {
    return this.told.map(({ type }) => type);
  }

  dataOf(event: "chunk" | "log"): readonly string[] {
    return this.events.filter((received) => received.event === event).map(({ data }) => data);
  }

  /** What a browser would send as `Last-Event-ID` now. */
  get lastId(): string {
    return lastIdIn(this.sink.text) ?? "";
  }

  /** Awaits an event of that type. */
  async next(type: string): Promise<void> {
    await eventually(() => expect(this.types).to.include(type));
  }

  /** Awaits the end of the stream, as that of a task that is over. */
  async end(): Promise<void> {
    await this.session.closed;
    expect(this.session.closeReason).to.equal("completed");
  }
}
