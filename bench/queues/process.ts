/** A process that enqueues tasks or works on them. The runner controls it. */
import { setTimeout as sleep } from "node:timers/promises";

import type { BenchQueue, OpenQueue, Payload } from "./queue.js";

/** Requests of the runner, with their parameters and results. */
export interface QueueQuestions {
  /** Warms up: runs all code once, on a separate queue. */
  warmUp(shape: { tasks: number; portion: number; concurrency: number }): Promise<void>;
  add(shape: Addition): Promise<Spent>;
  /** Works until this many tasks are done, or until no task arrives for a while. */
  process(shape: { tasks: number; concurrency: number }): Promise<Processed>;
  /** Enqueues tasks one by one. The payload of each task is its time. */
  trickle(shape: { tasks: number; everyMs: number }): Promise<void>;
  /** Starts to work on these tasks, one at a time. */
  listen(): Promise<void>;
  /** Returns the latencies in microseconds, from before the enqueue call to the start of the handler. */
  latencies(shape: { tasks: number }): Promise<readonly number[]>;
  /** Enqueues tasks in this many queues at once, and works on them. */
  openSeveral(shape: { queues: number }): Promise<void>;
}

export interface Addition {
  readonly tasks: number;
  readonly portion: number;
  readonly bulk: boolean;
}

export interface Spent {
  readonly seconds: number;
  readonly cpuUs: number;
}

export interface Processed extends Spent {
  readonly lost: number;
  readonly repeated: number;
}

export interface AskedOfQueue {
  readonly id: number;
  readonly question: keyof QueueQuestions;
  readonly shape: never;
}

/** If no task arrives for this time, the missing tasks are lost. */
const PATIENCE_MS = 10_000;
/** Wait after the last task. A task that arrives in this time is a duplicate. */
const AFTERMATH_MS = 200;

const url = process.env["BENCH_REDIS_URL"]!;
const { open } = (await import(`./${process.env["BENCH_QUEUE"]!}.js`)) as { open: OpenQueue };
let opened: Promise<BenchQueue> | null = null;
const taken: number[] = [];

const answers: QueueQuestions = {
  async warmUp({ tasks, portion, concurrency }) {
    const other = await open(url, "warm-up");
    await addAll(other, { tasks, portion, bulk: false });
    await processAll(other, tasks, concurrency);
    await addAll(other, { tasks, portion, bulk: true });
    await processAll(other, tasks, concurrency);
  },
  async add(shape) {
    const queue = await measured();
    return measure(() => addAll(queue, shape));
  },
  process: async ({ tasks, concurrency }) => processAll(await measured(), tasks, concurrency),
  async trickle({ tasks, everyMs }) {
    const queue = await measured();
    for (let index = 0; index < tasks; index++) {
      await queue.add({ n: nowUs() });
      await sleep(everyMs);
    }
  },
  async listen() {
    const queue = await measured();
    await queue.work(1, ({ n }) => void taken.push(nowUs() - n));
    await sleep(AFTERMATH_MS);
  },
  async latencies({ tasks }) {
    for (let waited = 0; waited < PATIENCE_MS && taken.length < tasks; waited += 20) await sleep(20);
    await sleep(AFTERMATH_MS);
    return taken;
  },
  async openSeveral({ queues }) {
    for (let index = 0; index < queues; index++) {
      const some = await open(url, `some-${index}`);
      const done = new Promise<void>((resolve) => void some.work(1, () => resolve()));
      await some.add({ n: index });
      await done;
    }
  },
};

process.on("message", ({ id, question, shape }: AskedOfQueue) => {
  void answers[question](shape).then((value) => process.send!({ id, value }));
});
process.on("disconnect", () => process.exit(0));

function measured(): Promise<BenchQueue> {
  return (opened ??= open(url, "measured"));
}

async function addAll(to: BenchQueue, { tasks, portion, bulk }: Addition): Promise<void> {
  for (let from = 0; from < tasks; from += portion) {
    const payloads = Array.from({ length: Math.min(portion, tasks - from) }, (_, index) => ({
      n: from + index,
    }));
    if (bulk && to.addBulk !== undefined) await to.addBulk(payloads);
    else await Promise.all(payloads.map((payload) => to.add(payload)));
  }
}

async function processAll(from: BenchQueue, tasks: number, concurrency: number): Promise<Processed> {
  const numbers = new Set<number>();
  let ran = 0;
  let onAll: () => void = () => {};
  const all = new Promise<void>((resolve) => (onAll = resolve));
  const spent = await measure(async () => {
    await from.work(concurrency, ({ n }: Payload) => {
      numbers.add(n);
      if (++ran === tasks) onAll();
    });
    await Promise.race([all, idle(() => ran)]);
  });
  await sleep(AFTERMATH_MS);
  await from.stop();
  return { ...spent, lost: tasks - numbers.size, repeated: ran - numbers.size };
}

/** Resolves when a count has stopped changing. */
async function idle(count: () => number): Promise<void> {
  for (let before = -1; before !== count();) {
    before = count();
    await sleep(PATIENCE_MS, null, { ref: false });
  }
}

async function measure(what: () => Promise<void>): Promise<Spent> {
  globalThis.gc?.();
  const cpu = process.cpuUsage();
  const start = performance.now();
  await what();
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { seconds, cpuUs: user + system };
}

/** Current time of the monotonic clock, which all processes of a machine share. */
function nowUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}
