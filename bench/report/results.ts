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
    `Stalled: ${stalled.readers} readers that never read and one that does, ${stalled.events.toLocaleString("en")} events of ${stalled.size} bytes`,
  idle: ({ plan: { idle } }) =>
    `Idle: ${idle.streams.toLocaleString("en")} streams, a heartbeat every ${idle.heartbeatMs / 1000} s`,
  "queue-add": ({ plan: { queue } }) =>
    `Queue, adding: ${queue.tasks.toLocaleString("en")} tasks, ${queue.portion.toLocaleString("en")} calls at once`,
  "queue-process": ({ plan: { queue } }) =>
    `Queue, processing: ${queue.tasks.toLocaleString("en")} tasks that do nothing, concurrency ${queue.concurrency}`,
  "queue-pick-up": ({ plan: { queue } }) =>
    `Queue, picking up: ${queue.pickUps} tasks, one every ${queue.everyMs} ms`,
};

const EXPLANATIONS: Readonly<Record<string, string>> = {
  "history-burst":
    "Events with history come through `publish()`, one script each, and not as plain PUBLISH: they reach the server " +
    "one by one rather than in bursts, which by itself costs more writes. The line between has the same way of " +
    "publishing and nothing kept.",
  publish:
    "One process with one connection; raw is `XADD ... MAXLEN 1000` and `PUBLISH`, not awaited in between.",
  reconnect:
    "All streams connect at once, each with the `Last-Event-ID` that it had; the time runs from the first connection until " +
    "the last stream has got all it had missed. Afterwards each has to be live, and in order.",
  stalled:
    "Memory at most is the largest resident size that the server had, with all garbage; before is after a collection.",
  idle: "Heartbeats are shortened so that several rounds of them pass. The last column is in proportion, for the 667 heartbeats a second of 10,000 streams with the default of 15 s.",
  "queue-add":
    "One process; what is above takes one task with each call, what is below all of a portion with one. Another process " +
    "works on all of them afterwards: a round in which one is lost, or runs twice, is void.",
  "queue-process":
    "One process, on what is in line when it begins. The last line does one task at a time, as the application did.",
  "queue-pick-up":
    "From just before the call in one process to the handler in another, which has nothing else to do.",
};

function shapeOf({
  streams,
  channels,
  window,
}: {
  streams: number;
  channels: number;
  window: number;
}): string {
  const on = channels === 1 ? "one channel" : `${channels.toLocaleString("en")} channels`;
  return `${streams.toLocaleString("en")} streams on ${on}, ${window} event${window === 1 ? "" : "s"} in flight`;
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
    "Server CPU in microseconds, user and system, of all threads. Medians of all rounds, in brackets the least and the most. " +
      "A round in which any stream missed, repeated or reordered an event is void.",
    ...report.sections.flatMap((section) => sectionOf(section, report)),
    ...(hasFanOut(report) ? ["## What the load client takes", clientOf(report)] : []),
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
    `How it is measured is in the [README](${isFull(report) ? "" : "../"}README.md).`,
  ].join("\n\n");
}

function aimsOf(report: Report): string {
  const aims = judgeAims(report);
  if (!isFull(report)) {
    const measured = aims.flatMap(({ scenario, wanted, reached }) =>
      reached === null ? [] : [[scenario, wanted, reached]],
    );
    return [
      "They are for a whole run: what smaller numbers, fewer rounds or fewer servers reach does not judge them.",
      markdownTable([["scenario", "aim", "here"], ...measured]),
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
    "Both processes are asked for what they have used (`getrusage`, `schedstat`) at the beginning and the end of the same phase. " +
      "On loopback the client's reads include the kernel's work for the acknowledgements that they send. Where it takes " +
      "more than the server (as with the floor), deliveries per second are the client's limit; CPU per delivery is not touched by that.",
    markdownTable([["scenario", "CPU us per delivery", "in % of the server's"], ...rows]),
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
