import type { RedisServer } from "../harness/redis.js";
import { warmUp, withRig } from "../harness/rig.js";
import type { Target } from "../targets/catalog.js";
import { measureOpening, type OpeningFigures } from "./opening.js";

/** Streams on channels, with a number of events under way: what is asked of a server. */
export interface FanOut {
  readonly streams: number;
  readonly channels: number;
  readonly window: number;
}

/** For how long. A server in Node is slow until its code is compiled: nothing of the warm-up is counted. */
export interface Durations {
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly settleMs: number;
}

/** One run of one server. */
export interface FanOutFigures extends OpeningFigures {
  /** Server CPU for one event written to one client: the figure that decides. */
  readonly cpuUsPerDelivery: number;
  readonly deliveriesPerSecond: number;
  readonly deliveries: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** The load client's own, to compare with the server's. */
  readonly clientCpuUsPerDelivery: number;
}

/** Rejects with `VoidRun` when not every stream got every event once and in order. */
export function measureFanOut(
  target: Target,
  fanOut: FanOut,
  durations: Durations,
  redis: RedisServer,
): Promise<FanOutFigures> {
  return withRig(target, redis, async (rig) => {
    await warmUp(rig, fanOut);
    const { client, ...opening } = await measureOpening(rig, fanOut, durations.settleMs);
    await client.run({ seconds: durations.warmUpSeconds });
    const cpuBefore = await rig.server.cpuUs();
    const result = await client.run({ seconds: durations.seconds });
    const cpuAfter = await rig.server.cpuUs();
    const { deliveries, seconds, p50Us, p99Us, cpuUs } = result;
    return {
      ...opening,
      cpuUsPerDelivery: (cpuAfter - cpuBefore) / deliveries,
      deliveries,
      deliveriesPerSecond: deliveries / seconds,
      p50Us,
      p99Us,
      clientCpuUsPerDelivery: cpuUs / deliveries,
    };
  });
}
