/** Runs the benchmark: reads the command line, runs the experiments one by one, and writes the report. */
import { open, writeFile } from "node:fs/promises";

import { prepareBase, withBase } from "./harness/base.js";
import { stopAll } from "./harness/children.js";
import { removeFolders } from "./harness/folders.js";
import { whyNoNchan } from "./harness/nchan.js";
import { ensureOpenFiles, Refusal } from "./harness/open-files.js";
import { RedisServer } from "./harness/redis.js";
import { readOptions, USAGE, type Options } from "./options.js";
import { oursQueue, queueTargets } from "./queues/catalog.js";
import { describeMachine } from "./report/machine.js";
import { printSection } from "./report/print.js";
import type { Report, Section } from "./report/report.js";
import { writeReport } from "./report/write.js";
import { experimentsOf } from "./scenarios/experiments.js";
import { checkInstrument } from "./scenarios/self-check.js";
import { openFilesOf, planOf, type Plan } from "./scenarios/plan.js";
import { ours, targets, type Target } from "./targets/catalog.js";

process.once("exit", () => {
  stopAll();
  removeFolders();
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));

await run(readOptionsOrStop()).catch((error: unknown) => {
  console.error(error instanceof Refusal ? `bench: ${error.message}` : error);
  process.exit(1);
});

async function run(options: Options): Promise<void> {
  const plan = planOf(options.quick);
  const notes: string[] = [];
  const base = options.base === null ? null : await prepareBase(options.base);
  const chosen = withBase(chooseTargets(options, plan, notes), base);
  const queues = withBase(
    queueTargets.filter(
      ({ name }) => options.targets === null || options.targets.includes(name) || name === oursQueue.name,
    ),
    base,
  );
  if (options.json !== null) await ensureWritable(options.json);
  ensureOpenFiles(openFilesOf(plan, options.only));
  await checkInstrument();
  const redis = await RedisServer.start();
  const machine = describeMachine(await redis.version());
  console.log(`${machine.processor}, ${machine.cores} cores, load average ${machine.loadAverage}`);
  for (const note of notes) console.log(note);

  const sections: Section[] = [];
  for (const name of options.only) {
    for (const experiment of experimentsOf(name, plan, chosen, queues, redis)) {
      const rows = await experiment.run(options.rounds, (line) => process.stderr.write(`  ${line}\n`));
      const section = { key: experiment.key, rows };
      sections.push(section);
      printSection(section);
    }
  }
  await redis.stop();

  const report: Report = { machine, plan, options, notes, sections };
  for (const file of await writeReport(report)) console.log(`written: ${file}`);
  if (options.json !== null) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`);
}

/** Fails before the long run if the file is not writable. */
async function ensureWritable(file: string): Promise<void> {
  try {
    await (await open(file, "a")).close();
  } catch (error) {
    throw new Refusal(`Cannot write the file of --json: ${(error as Error).message}`);
  }
}

/** Returns the named targets, or by default all targets of the plan. Always includes redis-sse, because the ratios need it. */
function chooseTargets(options: Options, plan: Plan, notes: string[]): readonly Target[] {
  const named = options.targets;
  const wanted = targets.filter(({ name, onlyByName = false }) =>
    named === null ? !onlyByName && !plan.leftOut.includes(name) : named.includes(name) || name === ours.name,
  );
  const missing = wanted.some(({ fedBy }) => fedBy === "nchan") ? whyNoNchan() : null;
  if (missing !== null) notes.push(`Nchan is left out: ${missing}.`);
  return missing === null ? wanted : wanted.filter(({ fedBy }) => fedBy !== "nchan");
}

function readOptionsOrStop(): Options {
  try {
    const options = readOptions(process.argv.slice(2));
    if (options !== "help") return options;
    console.log(USAGE);
    process.exit(0);
  } catch (error) {
    console.error(`bench: ${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}
