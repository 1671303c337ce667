import { BASE } from "../harness/base.js";
import type { Row } from "../scenarios/experiment.js";
import { ours } from "../targets/catalog.js";
import type { Section } from "./report.js";
import type { Spread } from "./statistics.js";

/** One column of a table: a figure, as it is shown. */
interface Column {
  readonly figure: string;
  readonly heading: string;
  readonly digits: number;
  /** Shows between what all rounds lay, too. */
  readonly spread?: boolean;
}

const CPU_PER_DELIVERY: Column = {
  figure: "cpuUsPerDelivery",
  heading: "CPU us per delivery",
  digits: 2,
  spread: true,
};

const REDIS_CONNECTIONS: Column = { figure: "redisConnections", heading: "Redis connections", digits: 0 };

const FAN_OUT: readonly Column[] = [
  CPU_PER_DELIVERY,
  { figure: "deliveriesPerSecond", heading: "deliveries/s", digits: 0 },
  { figure: "p50Us", heading: "p50 us", digits: 0 },
  { figure: "p99Us", heading: "p99 us", digits: 0 },
  { figure: "cpuUsPerConnect", heading: "CPU us per connect", digits: 0 },
  REDIS_CONNECTIONS,
  { figure: "clientCpuUsPerDelivery", heading: "load client CPU us", digits: 2 },
];

const KB_PER_CONNECTION: Column = {
  figure: "kbPerConnection",
  heading: "KB per connection",
  digits: 1,
  spread: true,
};

const SMOOTH: readonly Column[] = [
  { figure: "longestDelayMs", heading: "longest event-loop delay, ms", digits: 0, spread: true },
  { figure: "ms", heading: "ms until the last stream is done", digits: 0, spread: true },
  { figure: "cpuMs", heading: "CPU ms", digits: 0 },
];

const CPU_PER_CONNECT: Column = {
  figure: "cpuUsPerConnect",
  heading: "CPU us per connect",
  digits: 0,
  spread: true,
};

const QUEUE: readonly Column[] = [
  { figure: "tasksPerSecond", heading: "tasks/s", digits: 0, spread: true },
  { figure: "cpuUsPerTask", heading: "CPU us per task", digits: 1, spread: true },
  { figure: "redisCpuUsPerTask", heading: "CPU us of Redis", digits: 1 },
];

const COLUMNS: Readonly<Record<string, readonly Column[]>> = {
  // Few connections tell little of what one takes: the noise of the heap is divided by them.
  wide: [CPU_PER_DELIVERY, KB_PER_CONNECTION, ...FAN_OUT.slice(1)],
  publish: [
    { figure: "perSecond", heading: "events/s", digits: 0, spread: true },
    { figure: "cpuUsPerEvent", heading: "CPU us per event", digits: 1 },
    { figure: "redisCpuUsPerEvent", heading: "CPU us of Redis", digits: 1 },
  ],
  reconnect: [
    { figure: "ms", heading: "ms until the last stream is live", digits: 0, spread: true },
    { figure: "eventsPerSecond", heading: "events replayed/s", digits: 0 },
    { figure: "cpuUsPerEvent", heading: "CPU us per event", digits: 2 },
    { figure: "reads", heading: "reads of Redis", digits: 0 },
    { figure: "shared", heading: "shared reads", digits: 0 },
  ],
  stalled: [
    { figure: "memoryBeforeMb", heading: "MB before", digits: 0 },
    { figure: "memoryPeakMb", heading: "peak MB", digits: 0, spread: true },
    { figure: "growthMb", heading: "growth MB", digits: 0 },
    { figure: "delivered", heading: "events for the healthy client", digits: 0 },
  ],
  idle: [
    { figure: "cpuPercent", heading: "CPU, % of a core", digits: 2 },
    { figure: "heartbeatsPerSecond", heading: "heartbeats/s", digits: 0 },
    { figure: "scaledCpuPercent", heading: "scaled to 10,000 streams and 15 s, %", digits: 2, spread: true },
  ],
  connect: [
    CPU_PER_CONNECT,
    { ...CPU_PER_CONNECT, figure: "firstCpuUsPerConnect", heading: "first connects, CPU us" },
  ],
  memory: [
    KB_PER_CONNECTION,
    { figure: "heapKbPerConnection", heading: "of which heap KB", digits: 1, spread: true },
    { ...CPU_PER_CONNECT, spread: false },
  ],
  "smooth-event": SMOOTH,
  "smooth-storm": SMOOTH,
  "smooth-rules": SMOOTH,
  "smooth-back": SMOOTH,
  "smooth-resume": SMOOTH,
  "queue-add": QUEUE,
  "queue-process": [
    ...QUEUE,
    { figure: "redisConnections", heading: "Redis connections of five queues", digits: 0 },
  ],
  "queue-pick-up": [
    { figure: "p50Us", heading: "p50 us", digits: 0, spread: true },
    { figure: "p99Us", heading: "p99 us", digits: 0, spread: true },
  ],
};

/** What the ratios of a table are made of. */
const COMPARED: Readonly<Record<string, string>> = {
  connect: "cpuUsPerConnect",
  memory: "kbPerConnection",
  "smooth-event": "longestDelayMs",
  "smooth-storm": "longestDelayMs",
  "smooth-rules": "longestDelayMs",
  "smooth-back": "longestDelayMs",
  "smooth-resume": "longestDelayMs",
  "queue-add": "cpuUsPerTask",
  "queue-process": "cpuUsPerTask",
  "queue-pick-up": "p50Us",
};

/** A section as rows of cells, the first row being the headings. */
export function tableOf(section: Section): readonly (readonly string[])[] {
  const columns = COLUMNS[section.key] ?? FAN_OUT;
  const compared = COMPARED[section.key] ?? "cpuUsPerDelivery";
  const reference = section.rows.find(({ name }) => name === ours.name)?.figures?.[compared]?.median;
  const ratios = reference !== undefined && section.rows.length > 1;
  const rows = section.rows.map((row) => [
    row.label,
    ...(ratios ? [ratioOf(row, compared, reference)] : []),
    ...columns.map((column) => cellOf(row, column)),
  ]);
  return [["", ...(ratios ? ["ratio to redis-sse"] : []), ...columns.map(({ heading }) => heading)], ...rows];
}

/** Where a base was measured: of each figure this checkout's median by the base's, a line for each pair of rows. */
export function comparisonsOf({ key, rows }: Section): readonly string[] {
  const columns = COLUMNS[key] ?? FAN_OUT;
  return rows.flatMap(({ name, label, figures: theirs }) => {
    if (name !== BASE && !name.startsWith(`${BASE}-`)) return [];
    const own = rows.find((row) => row.name === name.replace(BASE, ours.name))?.figures;
    if (!own || !theirs) return [];
    const ratios = columns.map(
      ({ figure, heading }) => `${heading} ${(own[figure]!.median / theirs[figure]!.median).toFixed(3)}`,
    );
    return [`Ratio of medians, this / ${label}: ${ratios.join("; ")}.`];
  });
}

function ratioOf({ figures }: Row, compared: string, reference: number): string {
  const value = figures?.[compared]?.median;
  return value === undefined ? "" : (value / reference).toFixed(2);
}

function cellOf({ figures, voids }: Row, { figure, digits, spread = false }: Column): string {
  const values = figures?.[figure];
  if (values === undefined) return "void";
  const shown = formatNumber(values.median, digits);
  const some = voids.length > 0 && spread ? `, ${voids.length} void` : "";
  return spread ? `${shown} (${rangeOf(values, digits)}${some})` : shown;
}

function rangeOf({ min, max }: Spread, digits: number): string {
  return `${formatNumber(min, digits)}-${formatNumber(max, digits)}`;
}

export function formatNumber(value: number, digits: number): string {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
