import { VoidRun } from "../harness/load.js";
import { withQueueProcesses, type QueueProcess } from "../harness/queue-process.js";
import type { RedisServer } from "../harness/redis.js";
import { spreadOf } from "../report/statistics.js";
import type { QueueTarget } from "../queues/catalog.js";
import type { Entry } from "./experiment.js";

export interface QueueShape {
  readonly tasks: number;
  /** So many calls at once, when tasks are put in line. */
  readonly portion: number;
  readonly concurrency: number;
  /** Before anything is measured. */
  readonly warmUp: number;
  /** One at a time, so far apart. */
  readonly pickUps: number;
  readonly everyMs: number;
  /** Used by one process, to see what connections they take. */
  readonly queues: number;
}

/** One way to put tasks in line. */
export interface AddWay extends Entry {
  readonly target: QueueTarget;
  readonly bulk: boolean;
}

export interface QueueFigures {
  readonly tasksPerSecond: number;
  /** Of the process that is looked at, all threads. */
  readonly cpuUsPerTask: number;
  readonly redisCpuUsPerTask: number;
}

export interface ProcessFigures extends QueueFigures {
  /** Of a process that uses several queues, in both ways. */
  readonly redisConnections: number;
}

export interface PickUpFigures {
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Each task by itself, and all together where there is a way. */
export function addWaysOf(targets: readonly QueueTarget[]): readonly AddWay[] {
  return [false, true].flatMap((bulk) =>
    targets
      .filter((target) => !bulk || target.bulk !== false)
      .map((target) => ({
        name: bulk ? `${target.name}-bulk` : target.name,
        label: bulk ? `${target.label}, in bulk` : target.label,
        target,
        bulk,
      })),
  );
}

/** How fast one process puts tasks in line. That they are all there shows another one, afterwards. */
export function measureAdding(
  { target, bulk }: AddWay,
  shape: QueueShape,
  redis: RedisServer,
): Promise<QueueFigures> {
  const { tasks, portion, concurrency } = shape;
  return withQueueProcesses(target, redis, 2, async (adder, worker) => {
    await warmUp([adder], shape);
    const before = redis.cpuUs();
    const { seconds, cpuUs } = await adder.ask("add", { tasks, portion, bulk });
    const redisCpuUs = redis.cpuUs() - before;
    judge(await worker.ask("process", { tasks, concurrency }));
    return figuresOf(tasks, seconds, cpuUs, redisCpuUs);
  });
}

/** How fast one process works on what is in line when it begins. */
export function measureProcessing(
  target: QueueTarget,
  shape: QueueShape,
  redis: RedisServer,
): Promise<ProcessFigures> {
  const { tasks, portion, concurrency, queues } = shape;
  return withQueueProcesses(target, redis, 2, async (adder, worker) => {
    await warmUp([worker], shape);
    await adder.ask("add", { tasks, portion, bulk: false });
    const before = redis.cpuUs();
    const processed = await worker.ask("process", { tasks, concurrency });
    const redisCpuUs = redis.cpuUs() - before;
    judge(processed);
    const redisConnections = await countConnections(target, queues, redis);
    const { seconds, cpuUs } = processed;
    return { ...figuresOf(tasks, seconds, cpuUs, redisCpuUs), redisConnections };
  });
}

/** From the call that puts a task in line in one process to its handler in another, which is idle. */
export function measurePickUp(
  target: QueueTarget,
  shape: QueueShape,
  redis: RedisServer,
): Promise<PickUpFigures> {
  const { pickUps: tasks, everyMs } = shape;
  return withQueueProcesses(target, redis, 2, async (adder, worker) => {
    await warmUp([adder, worker], shape);
    await worker.ask("listen");
    await adder.ask("trickle", { tasks, everyMs });
    const latencies = (await worker.ask("latencies", { tasks })).toSorted((one, other) => one - other);
    if (latencies.length !== tasks) throw new VoidRun(`${latencies.length} of ${tasks} tasks ran`);
    return { p50Us: spreadOf(latencies).median, p99Us: latencies[Math.ceil(tasks * 0.99) - 1]! };
  });
}

async function warmUp(processes: readonly QueueProcess[], shape: QueueShape): Promise<void> {
  const { warmUp: tasks, portion, concurrency } = shape;
  for (const each of processes) await each.ask("warmUp", { tasks, portion, concurrency });
}

function countConnections(target: QueueTarget, queues: number, redis: RedisServer): Promise<number> {
  return withQueueProcesses(target, redis, 1, async (user) => {
    await user.ask("openSeveral", { queues });
    return user.connections();
  });
}

function judge({ lost, repeated }: { lost: number; repeated: number }): void {
  if (lost + repeated > 0) throw new VoidRun(`${lost} tasks lost, ${repeated} repeated`);
}

function figuresOf(tasks: number, seconds: number, cpuUs: number, redisCpuUs: number): QueueFigures {
  return {
    tasksPerSecond: tasks / seconds,
    cpuUsPerTask: cpuUs / tasks,
    redisCpuUsPerTask: redisCpuUs / tasks,
  };
}
