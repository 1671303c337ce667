import { oursQueue } from "../queues/catalog.js";
import { ours, oursWithHistory } from "../targets/catalog.js";
import { formatNumber } from "./columns.js";
import { bestPeer, medianOf, type Report } from "./report.js";

/** What the project wants to reach, and what a run has found. */
export interface Aim {
  readonly scenario: string;
  readonly wanted: string;
  /** Null: not measured. */
  readonly reached: string | null;
  readonly met: boolean | null;
}

const CPU = "cpuUsPerDelivery";

export function judgeAims(report: Report): readonly Aim[] {
  const { stalled } = report.plan;
  const of = (key: string, figure: string, name = ours.name): number | null =>
    medianOf(report, key, name, figure);
  return [
    atMost("burst", "CPU us per delivery", 0.5, of("burst", CPU), 2),
    cheaperThanPeers(report, "burst", 8),
    cheaperThanNchan(report, "burst", 12),
    atMost("single", "CPU us per delivery", 7.5, of("single", CPU), 2),
    cheaperThanPeers(report, "single", 2),
    cheaperThanNchan(report, "single", 1 / 1.2),
    atMost("per-user", "CPU us per delivery", 10, of("per-user", CPU), 2),
    cheaperThanPeers(report, "per-user", 1.6),
    cheaperThanNchan(report, "per-user", 1.8),
    atMost("wide", "CPU us per delivery", 11, of("wide", CPU), 2),
    atMost("wide", "KB per connection", 12, of("wide", "kbPerConnection"), 1),
    ...["burst", "per-user"].map((shape) => {
      const plain = of(`history-${shape}`, CPU);
      const kept = of(`history-${shape}`, CPU, oursWithHistory.name);
      return atMost(`history, ${shape}`, "times the plain figure", 1.3, quotient(kept, plain), 2);
    }),
    ...publishAims(report),
    ...report.plan.reconnect.map(({ name }) =>
      atMost(`reconnect, ${name}`, "ms until the last stream is live", 1_000, of("reconnect", "ms", name), 0),
    ),
    pagesReadOnce(report),
    atMost(
      "stalled",
      `MB of growth (${stalled.readers} clients of at most 1 MiB each)`,
      stalled.readers,
      of("stalled", "growthMb"),
      0,
    ),
    atLeast("stalled", "events for the healthy client", stalled.events, of("stalled", "delivered"), 0),
    atMost("idle", "% of a core for 10,000 streams", 3, of("idle", "scaledCpuPercent"), 2),
    ...["burst", "per-user", "wide"].map((key) =>
      atMost(key, "Redis connections", 2, of(key, "redisConnections"), 0),
    ),
    ...queueAims(report),
  ];
}

function atMost(scenario: string, what: string, limit: number, value: number | null, digits: number): Aim {
  const wanted = `at most ${limit.toLocaleString("en")} ${what}`;
  return aim(scenario, wanted, value, digits, (value) => value <= limit);
}

function atLeast(scenario: string, what: string, limit: number, value: number | null, digits: number): Aim {
  const wanted = `at least ${limit.toLocaleString("en")} ${what}`;
  return aim(scenario, wanted, value, digits, (value) => value >= limit);
}

function aim(
  scenario: string,
  wanted: string,
  value: number | null,
  digits: number,
  isMet: (value: number) => boolean,
): Aim {
  if (value === null) return { scenario, wanted, reached: null, met: null };
  return { scenario, wanted, reached: formatNumber(value, digits), met: isMet(value) };
}

function cheaperThanPeers(report: Report, key: string, times: number): Aim {
  const peer = bestPeer(report, key, CPU);
  const value = quotient(peer?.value ?? null, medianOf(report, key, ours.name, CPU));
  const judged = atLeast(key, "times cheaper than the best in Node", times, value, 1);
  return judged.reached === null ? judged : { ...judged, reached: `${judged.reached} (${peer!.label})` };
}

function cheaperThanNchan(report: Report, key: string, times: number): Aim {
  const value = quotient(medianOf(report, key, "nchan", CPU), medianOf(report, key, ours.name, CPU));
  if (times >= 1) return atLeast(key, "times cheaper than Nchan", times, value, 1);
  return atMost(key, "times the CPU of Nchan", 1 / times, value === null ? null : 1 / value, 2);
}

function publishAims(report: Report): Aim[] {
  return ["1 channel", "1,000 channels"].map((channels) => {
    const own = medianOf(report, "publish", `publish(), ${channels}`, "perSecond");
    const raw = medianOf(report, "publish", `raw XADD + PUBLISH, ${channels}`, "perSecond");
    return atLeast(`publish, ${channels}`, "of the rate of raw XADD + PUBLISH", 0.6, quotient(own, raw), 2);
  });
}

function queueAims(report: Report): Aim[] {
  const of = (key: string, figure: string, name = oursQueue.name): number | null =>
    medianOf(report, key, name, figure);
  const [add, process, pickUp] = ["queue-add", "queue-process", "queue-pick-up"] as const;
  const timesBullMq = quotient(of(process, "tasksPerSecond"), of(process, "tasksPerSecond", "bullmq"));
  return [
    atLeast(add, "tasks/s", 60_000, of(add, "tasksPerSecond"), 0),
    atMost(add, "CPU us per task", 15, of(add, "cpuUsPerTask"), 1),
    atLeast(process, "tasks/s", 45_000, of(process, "tasksPerSecond"), 0),
    atMost(process, "CPU us per task", 20, of(process, "cpuUsPerTask"), 1),
    atLeast(process, "times the rate of BullMQ", 3, timesBullMq, 1),
    atMost(process, "Redis connections for all queues of a process", 2, of(process, "redisConnections"), 0),
    atMost(pickUp, "us from enqueue to handler (p50)", 300, of(pickUp, "p50Us"), 0),
  ];
}

/** Where all cursors are equal, everybody's pages are the same: a few reads for each, not one for each stream. */
function pagesReadOnce(report: Report): Aim {
  const shape = report.plan.reconnect.find(({ channels }) => channels === 1)!;
  const events = medianOf(report, "reconnect", shape.name, "reads");
  const pages = Math.ceil(shape.missed / EVENTS_PER_PAGE);
  // Where the log stands is asked before the first page and behind the last.
  return atMost(`reconnect, ${shape.name}`, "reads of Redis: each page once", pages + 3, events, 0);
}

const EVENTS_PER_PAGE = 256;

function quotient(dividend: number | null, divisor: number | null): number | null {
  return dividend === null || divisor === null ? null : dividend / divisor;
}
