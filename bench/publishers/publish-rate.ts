/**
 * How fast one process publishes: through `publish()`, and with the two commands that keep and publish an event
 * when nobody cares for order, repeats or gaps.
 */
import { Redis } from "ioredis";
import { createRedisSse } from "redis-sse";

export interface PublishTask {
  readonly by: "publish" | "raw";
  readonly channels: number;
  readonly inFlight: number;
  readonly size: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

export interface PublishRate {
  readonly published: number;
  readonly perSecond: number;
  /** Of the process that publishes. */
  readonly cpuUsPerEvent: number;
}

const url = process.env["BENCH_REDIS_URL"]!;
const task = JSON.parse(process.env["BENCH_TASK"]!) as PublishTask;
const data = "x".repeat(task.size);
const publish = task.by === "publish" ? throughService() : throughCommands();

await publishFor(task.warmUpSeconds);
// The runner looks at what Redis has used, now and at the end.
process.send!("warm");
process.send!(await publishFor(task.seconds));
process.on("disconnect", () => process.exit(0));

function throughService(): (channel: number) => Promise<unknown> {
  const service = createRedisSse({ redis: url });
  return (channel) => service.publish(`kept:${channel}`, { data });
}

function throughCommands(): (channel: number) => Promise<unknown> {
  const redis = new Redis(url);
  return (channel) => {
    // Both on one connection without waiting: Redis gets them in one go, and the second answer is the later one.
    redis.xadd(`log:${channel}`, "MAXLEN", 1_000, "*", "d", data).catch(() => {});
    return redis.publish(`kept:${channel}`, data);
  };
}

/** Keeps so many events under way, each place taken again as soon as its event is acknowledged. */
async function publishFor(seconds: number): Promise<PublishRate> {
  const end = performance.now() + seconds * 1000;
  const cpu = process.cpuUsage();
  const start = performance.now();
  let published = 0;
  await Promise.all(
    Array.from({ length: task.inFlight }, async () => {
      while (performance.now() < end) await publish(published++ % task.channels);
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { published, perSecond: published / elapsed, cpuUsPerEvent: (user + system) / published };
}
