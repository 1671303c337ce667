import type { RedisServer } from "../harness/redis.js";
import { withRig } from "../harness/rig.js";
import { ours } from "../targets/catalog.js";

export interface Idle {
  readonly streams: number;
  readonly heartbeatMs: number;
  readonly seconds: number;
}

export interface IdleFigures {
  readonly cpuPercent: number;
  readonly heartbeatsPerSecond: number;
  /** What so many heartbeats take as 10,000 streams have with the default interval. */
  readonly scaledCpuPercent: number;
}

/** 10,000 streams, each with the default heartbeat of 15 s. */
const AIMED_PER_SECOND = 10_000 / 15;

/** Nothing but heartbeats. Shortened, so that many rounds of them pass; what they cost grows in proportion. */
export function measureIdle(idle: Idle, redis: RedisServer): Promise<IdleFigures> {
  const { streams, heartbeatMs, seconds } = idle;
  return withRig(
    ours,
    redis,
    async ({ server, open }) => {
      const { client } = await open({ streams, channels: streams, window: 1 });
      await client.idle(heartbeatMs / 1000); // the code is compiled, and the heartbeats are spread as they will be
      const before = await server.cpuUs();
      const result = await client.idle(seconds);
      const cpuPercent = ((await server.cpuUs()) - before) / result.seconds / 10_000;
      return {
        cpuPercent,
        heartbeatsPerSecond: result.reads / result.seconds,
        scaledCpuPercent: (cpuPercent * AIMED_PER_SECOND * result.seconds) / result.reads,
      };
    },
    { heartbeatMs },
  );
}
