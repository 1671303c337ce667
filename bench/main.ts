/** The benchmark as a whole: what is asked for on the command line, one scenario after the other, the report. */
import { loadavg } from "node:os";

import { stopAll } from "./harness/children.js";
import { whyNoNchan } from "./harness/nchan.js";
import { RedisServer } from "./harness/redis.js";
import { readOptions, USAGE, type Options } from "./options.js";
import { spreadOf } from "./report/statistics.js";
import { measureFanOut } from "./scenarios/fan-out.js";
import { isFanOut, planOf } from "./scenarios/plan.js";
import { alternate } from "./scenarios/rounds.js";
import { targets } from "./targets/catalog.js";

process.once("exit", stopAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));

async function run(options: Options): Promise<void> {
  const plan = planOf(options.quick);
  const redis = await RedisServer.start();
  const why = whyNoNchan();
  if (why) console.log(`nchan is left out: ${why}`);
  console.log(
    `load average: ${loadavg()
      .map((load) => load.toFixed(2))
      .join(" ")}`,
  );
  for (const name of options.only.filter(isFanOut)) {
    const fanOut = plan.fanOut[name];
    const entries = targets.filter(
      (target) =>
        options.targets.includes(target.name) &&
        (target.name !== "nchan" || why === null) &&
        (target.manyChannels !== false || fanOut.channels === 1) &&
        (target.manyStreams !== false || fanOut.streams <= 1_000),
    );
    const results = await alternate(
      entries,
      options.rounds,
      (target) => measureFanOut(target, fanOut, plan.durations, redis),
      (line) => process.stderr.write(`  ${name}: ${line}\n`),
    );
    console.log(`\n${name}`);
    const table: Record<string, Record<string, string>> = {};
    for (const [target, { figures, voids }] of results) {
      const of = (key: keyof (typeof figures)[number], digits: number): string =>
        spreadOf(figures.map((each) => each[key]))?.median.toFixed(digits) ?? `void: ${voids[0]}`;
      table[target.label] = {
        "CPU us/delivery": of("cpuUsPerDelivery", 2),
        "deliveries/s": of("deliveriesPerSecond", 0),
        "p50 us": of("p50Us", 0),
        "p99 us": of("p99Us", 0),
        "KB/connection": of("kbPerConnection", 1),
        "CPU us/connect": of("cpuUsPerConnect", 0),
        "Redis connections": of("redisConnections", 0),
        "client CPU us": of("clientCpuUsPerDelivery", 2),
      };
    }
    console.table(table);
  }
  await redis.stop();
}

function readOptionsOrStop(): Options {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

await run(readOptionsOrStop());
