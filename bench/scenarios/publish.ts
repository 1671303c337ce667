import { join } from "node:path";

import { messageOf, startScript, stop } from "../harness/children.js";
import { dist } from "../harness/paths.js";
import type { RedisServer } from "../harness/redis.js";
import type { PublishRate, PublishTask } from "../publishers/publish-rate.js";

/** One way to publish, on so many channels. */
export interface PublishWay extends Pick<PublishTask, "by" | "channels"> {
  readonly name: string;
}

export interface PublishFigures extends Omit<PublishRate, "published"> {
  /** What Redis spends on an event. */
  readonly redisCpuUsPerEvent: number;
}

export const publishWays: readonly PublishWay[] = [1, 1_000].flatMap((channels) =>
  (["publish", "raw"] as const).map((by) => ({
    name: `${by === "publish" ? "publish()" : "raw XADD + PUBLISH"}, ${channels.toLocaleString("en")} channel${channels === 1 ? "" : "s"}`,
    by,
    channels,
  })),
);

export async function measurePublish(
  { by, channels }: PublishWay,
  durations: Pick<PublishTask, "warmUpSeconds" | "seconds">,
  redis: RedisServer,
): Promise<PublishFigures> {
  await redis.admin.flushall();
  const task: PublishTask = { by, channels, inFlight: 256, size: 100, ...durations };
  const child = startScript(join(dist, "publishers/publish-rate.js"), {
    BENCH_REDIS_URL: redis.url,
    BENCH_TASK: JSON.stringify(task),
  });
  try {
    await messageOf(child);
    const cpuBefore = redis.cpuUs();
    const { published, ...rate } = (await messageOf(child)) as PublishRate;
    return { ...rate, redisCpuUsPerEvent: (redis.cpuUs() - cpuBefore) / published };
  } finally {
    await stop(child);
  }
}
