import { join } from "node:path";

import { BASE } from "../harness/base.js";
import { messageOf, startScript, stop } from "../harness/children.js";
import { dist } from "../harness/paths.js";
import type { RedisServer } from "../harness/redis.js";
import type { PublishRate, PublishTask } from "../publishers/publish-rate.js";
import type { Target } from "../targets/catalog.js";

/** One way to publish, on so many channels. */
export interface PublishWay extends Pick<PublishTask, "by" | "channels"> {
  readonly name: string;
  /** Where the scripts are; the default is this checkout's. */
  readonly folder?: string;
}

export interface PublishFigures extends Omit<PublishRate, "published"> {
  /** What Redis spends on an event. */
  readonly redisCpuUsPerEvent: number;
}

/** Of one channel, then of many; with the base, if one is measured, behind ours. */
export function publishWaysOf(targets: readonly Target[]): readonly PublishWay[] {
  const base = targets.find(({ name }) => name === BASE);
  return [1, 1_000].flatMap((channels) => {
    const where = `${channels.toLocaleString("en")} channel${channels === 1 ? "" : "s"}`;
    const own: PublishWay = { name: `publish(), ${where}`, by: "publish", channels };
    const raw: PublishWay = { name: `raw XADD + PUBLISH, ${where}`, by: "raw", channels };
    if (base?.folder === undefined) return [own, raw];
    return [own, { ...own, name: `publish() of the base, ${where}`, folder: base.folder }, raw];
  });
}

export async function measurePublish(
  { by, channels, folder = dist }: PublishWay,
  durations: Pick<PublishTask, "warmUpSeconds" | "seconds">,
  redis: RedisServer,
): Promise<PublishFigures> {
  await redis.admin.flushall();
  const task: PublishTask = { by, channels, inFlight: 256, size: 100, ...durations };
  const child = startScript(join(folder, "publishers/publish-rate.js"), {
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
