import { BASE } from "../harness/base.js";
import type { RedisServer } from "../harness/redis.js";
import type { QueueTarget } from "../queues/catalog.js";
import { ours, oursPublished, oursWithHistory, type Target } from "../targets/catalog.js";
import { experiment, type Experiment } from "./experiment.js";
import { measureFanOut, type FanOut } from "./fan-out.js";
import { measureIdle } from "./idle.js";
import type { ScenarioName } from "./names.js";
import { measureConnecting, measureMemory } from "./opening.js";
import type { Plan } from "./plan.js";
import { measurePublish, publishWaysOf } from "./publish.js";
import { addWaysOf, measureAdding, measurePickUp, measureProcessing } from "./queues.js";
import { measureReconnect } from "./reconnect.js";
import {
  measureBack,
  measureLargeEvents,
  measureStorm,
  resumesOf,
  stormsOf,
  withHistory,
  withRules,
} from "./smooth.js";
import { measureStalled } from "./stalled.js";

/** Of those that are compared, the ones for which it is of interest what a slow reader costs them. */
const STALLED_TARGETS: readonly string[] = ["redis-sse", BASE, "hand-written", "better-sse"];
/** The servers whose event-loop delay is compared. */
const SMOOTH_TARGETS: readonly string[] = [...STALLED_TARGETS, "fastify-sse"];

/** What a scenario consists of. */
export function experimentsOf(
  name: ScenarioName,
  plan: Plan,
  targets: readonly Target[],
  queues: readonly QueueTarget[],
  redis: RedisServer,
): readonly Experiment[] {
  const fanOut = (key: string, shape: FanOut, among: readonly Target[]): Experiment =>
    experiment(key, among.filter(isFitFor(shape)), (target) =>
      measureFanOut(target, shape, plan.durations, redis),
    );
  const smoothTargets = targets.filter((target) => SMOOTH_TARGETS.includes(target.name));
  const { settleMs } = plan.durations;
  switch (name) {
    case "burst":
    case "single":
    case "per-user":
    case "wide":
      return [fanOut(name, plan.fanOut[name], targets)];
    case "history":
      return (["burst", "per-user"] as const).map((shape) =>
        fanOut(`history-${shape}`, plan.fanOut[shape], [ours, oursPublished, oursWithHistory]),
      );
    case "publish":
      return [
        experiment("publish", publishWaysOf(targets), (way) => measurePublish(way, plan.durations, redis)),
      ];
    case "reconnect":
      return [experiment("reconnect", plan.reconnect, (reconnect) => measureReconnect(reconnect, redis))];
    case "stalled":
      return [
        experiment(
          "stalled",
          targets.filter((target) => STALLED_TARGETS.includes(target.name)),
          (target) => measureStalled(target, plan.stalled, redis),
        ),
      ];
    case "idle":
      return [experiment("idle", [ours], () => measureIdle(plan.idle, redis))];
    case "connect": {
      const shape = plan.opening.connect;
      return [
        experiment(name, targets.filter(isFitFor(shape)), (target) =>
          measureConnecting(target, shape, settleMs, redis),
        ),
      ];
    }
    case "memory": {
      const shape = plan.opening.memory;
      return [
        experiment(name, targets.filter(isFitFor(shape)).filter(isNode), (target) =>
          measureMemory(target, shape, settleMs, redis),
        ),
      ];
    }
    case "smooth-event":
      return [
        experiment(name, smoothTargets, (target) =>
          measureLargeEvents(target, plan.smooth.event, settleMs, redis),
        ),
      ];
    case "smooth-storm":
      return [
        experiment(name, stormsOf(smoothTargets, plan.smooth.storm), (entry) =>
          measureStorm(entry, plan.smooth.storm.streams, settleMs, redis),
        ),
      ];
    case "smooth-rules":
      return [
        experiment(name, withRules(targets), (target) =>
          measureLargeEvents(target, plan.smooth.rules, settleMs, redis),
        ),
      ];
    case "smooth-back":
      return [
        experiment(name, withHistory(targets), (target) =>
          measureBack(target, plan.smooth.back, settleMs, redis),
        ),
      ];
    case "smooth-resume":
      return [
        experiment(name, resumesOf(targets, plan.smooth.resume), (entry) =>
          measureStorm(entry, plan.smooth.resume.streams, settleMs, redis),
        ),
      ];
    case "queue-add":
      return [experiment(name, addWaysOf(queues), (way) => measureAdding(way, plan.queue, redis))];
    case "queue-process":
      return [experiment(name, queues, (queue) => measureProcessing(queue, plan.queue, redis))];
    case "queue-pick-up":
      return [experiment(name, queues, (queue) => measurePickUp(queue, plan.queue, redis))];
  }
}

function isNode({ runs }: Target): boolean {
  return "script" in runs;
}

function isFitFor({ streams, channels }: FanOut): (target: Target) => boolean {
  return ({ manyChannels = true, manyStreams = true }) =>
    (manyChannels || channels === 1) && (manyStreams || streams <= 1_000);
}
