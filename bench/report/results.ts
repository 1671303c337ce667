import type { FanOut } from "../scenarios/fan-out.js";
import type { LargeEvents } from "../scenarios/smooth.js";
import { judgeAims } from "./aims.js";
import { comparisonsOf, tableOf } from "./columns.js";
import { isFull, type Report, type Section } from "./report.js";

/** What each table shows, in the order of the report. */
const TITLES: Readonly<Record<string, (report: Report) => string>> = {
  burst: ({ plan }) => `Burst: ${shapeOf(plan.fanOut.burst)}`,
  single: ({ plan }) => `Single: ${shapeOf(plan.fanOut.single)}`,
  "per-user": ({ plan }) => `Per user: ${shapeOf(plan.fanOut["per-user"])}`,
  wide: ({ plan }) => `Wide: ${shapeOf(plan.fanOut.wide)}`,
  "history-burst": () => "History, burst",
  "history-per-user": () => "History, per user",
  publish: () => "Publishing: 100 bytes, 256 in flight",
  reconnect: ({ plan }) =>
    `Reconnect: ${plan.reconnect
      .map(
        ({ name, streams, missed }) =>
          `${streams.toLocaleString("en")} streams on ${name}, ${missed} missed events each`,
      )
      .join("; ")}`,
  stalled: ({ plan: { stalled } }) =>
    `Stalled: ${stalled.readers} clients that never read and 1 client that reads, ${stalled.events.toLocaleString("en")} events of ${stalled.size} bytes`,
  idle: ({ plan: { idle } }) =>
    `Idle: ${idle.streams.toLocaleString("en")} streams, a heartbeat every ${idle.heartbeatMs / 1000} s`,
  connect: ({ plan }) => `Connect: ${openingOf(plan.opening.connect)}`,
  memory: ({ plan }) => `Memory: ${openingOf(plan.opening.memory)}`,
  "smooth-event": ({ plan }) => `Event-loop delay, large event: ${largeEventsOf(plan.smooth.event)}`,
  "smooth-storm": ({ plan }) =>
    `Event-loop delay, storm: ${plan.smooth.storm.streams.toLocaleString("en")} streams connect at once`,
  "smooth-rules": ({ plan }) =>
    `Event-loop delay, rules: ${largeEventsOf(plan.smooth.rules)} with \`filter\` and \`transform\``,
  "smooth-back": ({ plan }) =>
    `Event-loop delay, Redis is back: ${onChannels(plan.smooth.back)} with history`,
  "smooth-resume": ({ plan: { smooth } }) =>
    `Event-loop delay, long resume: ${onChannels(smooth.resume)}, ${smooth.resume.missed.toLocaleString("en")} missed events each`,
  "queue-add": ({ plan: { queue } }) =>
    `Queue, adding: ${queue.tasks.toLocaleString("en")} tasks, ${queue.portion.toLocaleString("en")} calls at once`,
  "queue-process": ({ plan: { queue } }) =>
    `Queue, processing: ${queue.tasks.toLocaleString("en")} tasks that do nothing, concurrency ${queue.concurrency}`,
  "queue-pick-up": ({ plan: { queue } }) =>
    `Queue, picking up: ${queue.pickUps} tasks, one every ${queue.everyMs} ms`,
};

const EXPLANATIONS: Readonly<Record<string, string>> = {
  "history-burst":
    "Events with history are published with `publish()`, by one script for each event, and not with plain PUBLISH. " +
    "So they reach the server one by one and not in bursts, which costs more writes. " +
    'The row "no history, by publish()" shows the same way of publishing without history.',
  publish:
    "One process with one connection. Raw means `XADD ... MAXLEN 1000` and `PUBLISH`, without a wait between the two.",
  reconnect:
    "All streams reconnect at once, each with its own `Last-Event-ID`. The time is measured from the first connection until " +
    "the last stream has all its missed events. Then the benchmark checks that each stream is live and its events are in order.",
  stalled:
    "Peak is the largest resident size of the server, including garbage. Before is the size after a garbage collection.",
  idle:
    "The heartbeat interval is shortened, so that each stream gets several heartbeats. The last column is calculated for " +
    "10,000 streams with the default interval of 15 s, which is 667 heartbeats per second.",
  "smooth-event":
    "While the event loop is blocked, the server answers no other request and sends no other event.",
  "smooth-storm":
    "All streams connect to one channel. In the rows with missed events, they connect with `Last-Event-ID` and are evenly " +
    "spread over the channels. Then the benchmark checks that each stream is live and its events are in order.",
  "smooth-back":
    "Redis drops all connections and accepts new ones at once. The time is measured until all channels are subscribed again. " +
    "Then the benchmark checks that each stream is live and its events are in order.",
  "smooth-rules": "The transformed event is computed and encoded for each stream.",
  "queue-add":
    'One process. Without "in bulk", each call adds one task. With "in bulk", one call adds 1,000 tasks. Then another process ' +
    "works on all tasks. If a task is lost or runs twice, the round is void.",
  "queue-process":
    "One process works on tasks that were added before. The last row processes one task at a time, as the original application did.",
  "queue-pick-up":
    "The time from directly before the call in one process to the handler in another, idle process.",
};

function onChannels({ streams, channels }: Pick<FanOut, "streams" | "channels">): string {
  const on = channels === 1 ? "one channel" : `${channels.toLocaleString("en")} channels`;
  return `${streams.toLocaleString("en")} streams on ${on}`;
}

function openingOf(shape: FanOut): string {
  return `${onChannels(shape)}, without events`;
}

function largeEventsOf({ streams, events, size }: LargeEvents): string {
  const what = `${events} event${events === 1 ? "" : "s"} of ${size.toLocaleString("en")} bytes`;
  return `${what} to ${onChannels({ streams, channels: 1 })}`;
}

function shapeOf(shape: FanOut): string {
  const { window } = shape;
  return `${onChannels(shape)}, ${window} event${window === 1 ? "" : "s"} in flight`;
}

/** The report as Markdown. */
export function renderResults(report: Report): string {
  const parts = [
    "# Results",
    headOf(report),
    ...(hasFanOut(report) ? [`![CPU per delivery](${isFull(report) ? "../docs/" : ""}chart.svg)`] : []),
    "## Aims",
    aimsOf(report),
    "## Figures",
    "CPU is the user and system time of all threads of the server, in microseconds. Each figure is the median of all rounds, with " +
      "the lowest and highest value in brackets. If a stream misses, repeats or reorders an event, the round is void.",
    ...report.sections.flatMap((section) => sectionOf(section, report)),
    ...(hasFanOut(report) ? ["## CPU of the load client", clientOf(report)] : []),
  ];
  return `${parts.join("\n\n")}\n`;
}

function headOf(report: Report): string {
  const { machine, options, notes } = report;
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `\`${options.command}\`, ${machine.date}, ${options.rounds} round${options.rounds === 1 ? "" : "s"}. ` +
      `${machine.processor}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.kernel}; load average at the start ${machine.loadAverage}. ` +
      `${versions.join(", ")}.`,
    ...notes,
    `The [README](${isFull(report) ? "" : "../"}README.md) describes the method.`,
  ].join("\n\n");
}

function aimsOf(report: Report): string {
  const aims = judgeAims(report);
  if (!isFull(report)) {
    const measured = aims.flatMap(({ scenario, wanted, reached }) =>
      reached === null ? [] : [[scenario, wanted, reached]],
    );
    return [
      "The aims apply to a full run. This run had less load, fewer rounds or fewer servers, so it does not judge them.",
      markdownTable([["scenario", "aim", "this run"], ...measured]),
    ].join("\n\n");
  }
  const rows = aims.map(({ scenario, wanted, reached, met }) => [
    scenario,
    wanted,
    reached ?? "not measured",
    met === null ? "" : met ? "met" : "**not met**",
  ]);
  return markdownTable([["scenario", "aim", "reached", ""], ...rows]);
}

function sectionOf(section: Section, report: Report): string[] {
  const explanation = EXPLANATIONS[section.key];
  const voids = section.rows.flatMap(({ label, voids }) =>
    voids.map((reason) => `- Void: ${label}: ${reason}`),
  );
  return [
    `### ${TITLES[section.key]?.(report) ?? section.key}`,
    ...(explanation === undefined ? [] : [explanation]),
    markdownTable(tableOf(section)),
    ...comparisonsOf(section),
    ...(voids.length === 0 ? [] : [voids.join("\n")]),
  ];
}

/** For each scenario, how the client's CPU for one delivery compares with that of the servers. */
function clientOf(report: Report): string {
  const rows = report.sections.filter(isFanOut).map(({ key, rows }) => {
    const shares = rows.flatMap(({ label, figures }) => {
      const server = figures?.["cpuUsPerDelivery"]?.median;
      const client = figures?.["clientCpuUsPerDelivery"]?.median;
      return server === undefined || client === undefined ? [] : [{ label, client, share: client / server }];
    });
    const clients = shares.map(({ client }) => client);
    return [
      key,
      `${Math.min(...clients).toFixed(2)}-${Math.max(...clients).toFixed(2)}`,
      shares.map(({ label, share }) => `${label} ${Math.round(share * 100)}%`).join(", "),
    ];
  });
  return [
    "The CPU time of both processes is read (`getrusage`, `schedstat`) at the start and the end of the same phase. " +
      "On loopback, the reads of the client include the work of the kernel for the acknowledgements that they send. " +
      "If the client uses more CPU than the server, as with the floor, the client limits the deliveries per second. It does not affect the CPU per delivery.",
    markdownTable([["scenario", "CPU us per delivery", "in % of the server CPU"], ...rows]),
  ].join("\n\n");
}

function isFanOut({ rows }: Section): boolean {
  return rows.some(({ figures }) => figures?.["clientCpuUsPerDelivery"] !== undefined);
}

function hasFanOut({ sections }: Report): boolean {
  return sections.some(isFanOut);
}

function markdownTable(rows: readonly (readonly string[])[]): string {
  const [head, ...body] = rows as [readonly string[], ...(readonly string[])[]];
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, column) => (column === 0 ? "---" : "---:"));
  return [line(head), line(rule), ...body.map(line)].join("\n");
}
