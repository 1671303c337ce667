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
    cheaperThanPeers(report, "burst", 8),
    cheaperThanPeers(report, "single", 2),
    cheaperThanPeers(report, "per-user", 1.6),
    comparedWith(report, "single", CPU, "bare", 1.1),
    comparedWith(report, "per-user", CPU, "bare", 1.05),
    comparedWith(report, "wide", CPU, "bare", 1.1),
    cheaperThanNchan(report, "burst", 12),
    cheaperThanNchan(report, "single", 1 / 1.2),
    cheaperThanNchan(report, "per-user", 1.8),
    comparedWith(report, "connect", "cpuUsPerConnect", "hand-written", 1.3),
    comparedWith(report, "memory", "kbPerConnection", "hand-written", 1.1),
    ...["smooth-event", "smooth-rules", "smooth-back", "smooth-resume"].map((key) =>
      atMost(key, "ms of event-loop delay", 100, of(key, "longestDelayMs"), 0),
    ),
    ...[1, report.plan.smooth.storm.channels].map((channels) => stormAim(report, channels)),
    ...["burst", "per-user"].map((shape) => {
      const plain = of(`history-${shape}`, CPU);
      const kept = of(`history-${shape}`, CPU, oursWithHistory.name);
      return atMost(`history, ${shape}`, "times the plain figure", 1.2, quotient(kept, plain), 2);
    }),
    ...publishAims(report),
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

function comparedWith(report: Report, key: string, figure: string, name: string, times: number): Aim {
  const value = quotient(medianOf(report, key, ours.name, figure), medianOf(report, key, name, figure));
  const what = { [CPU]: "the CPU", cpuUsPerConnect: "the CPU", kbPerConnection: "the memory" }[figure];
  return atMost(key, `times ${what} of the ${name} server`, times, value, 2);
}

/** Clients that missed events, compared with new clients of the hand-written server. */
function stormAim(report: Report, channels: number): Aim {
  const delay = (name: string): number | null => medianOf(report, "smooth-storm", name, "longestDelayMs");
  const value = quotient(delay(`${ours.name}-missed-${channels}`), delay("hand-written"));
  const key = `smooth-storm, ${channels.toLocaleString("en")} channel${channels === 1 ? "" : "s"}`;
  return atMost(key, "times the event-loop delay of the hand-written server", 1.3, value, 2);
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
  const of = (figure: string, name = oursQueue.name): number | null =>
    medianOf(report, "queue-process", name, figure);
  return [
    atLeast(
      "queue-process",
      "times the rate of BullMQ",
      3,
      quotient(of("tasksPerSecond"), of("tasksPerSecond", "bullmq")),
      1,
    ),
    atMost("queue-process", "Redis connections for all queues of a process", 2, of("redisConnections"), 0),
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
