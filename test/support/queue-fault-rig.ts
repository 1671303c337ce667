import { expect } from "chai";

import {
  createRedisSse,
  type QueueService,
  type RedisSse,
  type RedisSseOptions,
  type Task,
  type TaskStatus,
  type Worker,
} from "../../lib/index.js";
import { eventually } from "./eventually.js";
import { need } from "./prerequisites.js";
import { RedisServer } from "./redis-server.js";

/** Tools for fault tests of queues. Everything created here is closed after the test. */
interface QueueFaultRig {
  /** A server for this test only. */
  readonly server: RedisServer;
  /** A service on this server, or on the server given as `redis`. */
  connect(options?: RedisSseOptions): RedisSse;
  /** Registers cleanup that runs before the services are closed, in reverse order. */
  undo(step: () => unknown): void;
}

export function describeQueueFaults(
  title: string,
  define: (rig: QueueFaultRig) => void,
  {
    server: args = [],
    timeoutMs = 30_000,
  }: { readonly server?: readonly string[]; readonly timeoutMs?: number } = {},
): void {
  describe(title, function () {
    this.timeout(timeoutMs);

    let program: string;
    let server: RedisServer;
    const services: RedisSse[] = [];
    const undoing: (() => unknown)[] = [];

    before(async function () {
      program = await need("redis", this);
    });

    beforeEach(async () => {
      server = await RedisServer.start(program, args);
    });

    afterEach(async () => {
      for (const step of undoing.splice(0).toReversed()) await step();
      if (server.running) server.signal("SIGCONT");
      await Promise.all(services.splice(0).map((service) => service.close()));
      await server.stop();
    });

    define({
      get server() {
        return server;
      },
      connect(options) {
        const service = createRedisSse({ redis: server.url, ...options });
        services.push(service);
        return service;
      },
      undo(step) {
        undoing.push(step);
      },
    });
  });
}

/** Resolves when a task has this status. */
export function until(
  queue: QueueService,
  id: string,
  status: TaskStatus = "succeeded",
  timeoutMs?: number,
): Promise<Task> {
  return eventually(async () => {
    const task = await queue.get(id);
    expect(task?.status, id).to.equal(status);
    return task!;
  }, timeoutMs);
}

/** A worker whose tasks all fail. */
export function failAll(queue: QueueService): Worker {
  return queue.worker(() => Promise.reject(new Error("no")), { onError: () => {} });
}

/** Enqueues tasks with these ids. */
export function enqueueAll(queue: QueueService, ids: readonly string[]): Promise<readonly Task[]> {
  return queue.enqueueMany(ids.map((id) => ({ kind: "kind", payload: null, options: { id } })));
}

/** Ids of tasks. */
export function idsOf(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `task-${index}`);
}

/** Data of the events with this type in the history of a task. */
export async function loggedOf(
  { admin }: RedisServer,
  id: string,
  event: string,
): Promise<readonly string[]> {
  const entries = (await admin.xrange(`sse:log:{tasks}:task_progress:${id}`, "-", "+")) as [
    string,
    string[],
  ][];
  const fields = entries.map(([, values]) => ({
    event: values[values.indexOf("e") + 1],
    data: values[values.indexOf("d") + 1]!,
  }));
  return fields.filter((each) => each.event === event).map(({ data }) => data);
}

/** All stored data, in a form that can be compared and restored. */
export async function everythingIn({ admin }: RedisServer): Promise<Readonly<Record<string, string>>> {
  const keys = (await admin.keys("*")).toSorted();
  const dumps = await Promise.all(keys.map((key) => admin.dumpBuffer(key)));
  return Object.fromEntries(keys.map((key, index) => [key, dumps[index]!.toString("base64")]));
}
