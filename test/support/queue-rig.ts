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

/** The sets of a queue, by the suffix of their keys. */
export type QueueSet =
  "ready" | "delayed" | "leases" | "succeeded" | "failed" | "cancelled" | "due" | "unreadable";

/** A worker that takes a task and then never reports again, because its clock stands still. */
export interface LostWorker {
  readonly clock: FakeClock;
  readonly context: TaskContext;
  readonly worker: Worker;
  readonly queue: QueueService;
  /** The late result of its handler. */
  readonly end: (result: unknown) => void;
}

/** A queue for one test on an empty server, with steps that the queue tests share. */
export interface QueueRig {
  readonly name: string;
  readonly sse: RedisSse;
  readonly queue: QueueService;
  /** A Redis client of another program. */
  readonly raw: Redis;
  /** A handler that does not end before the test. */
  readonly hang: TaskHandler;
  /** Another service on the same server. */
  service(options?: RedisSseOptions): Promise<RedisSse>;
  /** The same queue in another service. */
  elsewhere(options?: QueueOptions): Promise<QueueService>;
  /** Messages about a task that other programs receive. */
  hear(taskId: string): ReturnType<typeof listen>;
  taskKey(id: string): string;
  key(set: QueueSet): string;
  /** The ids of a set, in order. */
  members(set: QueueSet): Promise<readonly string[]>;
  /** Makes all entries of a set overdue: leases expire and delays end. */
  expire(set: QueueSet, ...ids: string[]): Promise<void>;
  until(id: string, status: TaskStatus): Promise<Task>;
  takeAndVanish(leaseMs?: number, options?: QueueOptions): Promise<LostWorker>;
  /** Opens the stream of a task, as a browser does. */
  watch(id: string, lastEventId?: string, sse?: RedisSse): Promise<TaskWatcher>;
}

/** Sets the hooks of a suite. Call it inside `describe`. */
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

  // Each test has a separate rig behind one object.
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
    // In a script, because the mock fails on some replies of sorted sets.
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
        if (contexts.length === 0) clock.advance(1_000); // so that the worker polls again
        expect(contexts, "tasks taken").to.have.length(1);
      });
      // The worker renews its lease after it has subscribed. These later steps resolve only after the renewal.
      const later = await away.open({}, new FakeSink(), "later");
      await lost.counts();
      await later.close();
      return { clock, context: contexts[0]!, worker, queue: lost, end: end.resolve };
    },
    async watch(id, lastEventId, by = sse) {
      const sink = new FakeSink();
      const session = await by.open({ lastEventId }, sink, progressChannel(id)).catch((error: unknown) => {
        // Tests check error answers themselves.
        if (sink.answered === null) throw error;
        return null;
      });
      return new TaskWatcher(sink, session);
    },
  };
  return rig;
}

const CONTROL = new Set(["connected", "gap", "closing", "error"]);

/** A client that follows one task. */
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

  /** Status of an answer without a stream. */
  get answered(): number | undefined {
    return this.sink.answered?.status;
  }

  /** The received events of the task, without control events. */
  get events(): readonly ReceivedEvent[] {
    return this.sink.events.filter(({ event }) => !CONTROL.has(event));
  }

  get gaps(): readonly ReceivedEvent[] {
    return this.sink.events.filter(({ event }) => event === "gap");
  }

  /** The received progress events. */
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

  /** The id that a browser would send as `Last-Event-ID`. */
  get lastId(): string {
    return lastIdIn(this.sink.text) ?? "";
  }

  /** Waits for an event of this type. */
  async next(type: string): Promise<void> {
    await eventually(() => expect(this.types).to.include(type));
  }

  /** Waits for the end of the stream, after the task has finished. */
  async end(): Promise<void> {
    await this.session.closed;
    expect(this.session.closeReason).to.equal("completed");
  }
}
