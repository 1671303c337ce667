import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import { readWriterOptions } from "../../lib/history/stream-writer.js";
import { ConfigError, createRedisSse, type RedisSse } from "../../lib/index.js";
import { readOptions } from "../../lib/options.js";
import {
  sseStream,
  taskCancel,
  taskStream,
  ticketResolver,
  type RedisPoolStatusOptions,
} from "../../middleware/express.js";

const PAGE = fileURLToPath(new URL("../../../docs/configuration.md", import.meta.url));
/** The page writes it as `max`. */
const MAX = 2 ** 31 - 1;

type Options = Readonly<Record<string, unknown>>;
type Check = (options: Options) => unknown;

/** One line of a table. */
interface Row {
  readonly call: string;
  readonly name: string;
  readonly fallback: string;
  readonly range: string;
}

/** Checks the options of each call. Throws `ConfigError` if one is invalid. */
const CHECKS = {
  createRedisSse: (options) => readOptions(options),
  sseStream: (options) => sseStream(() => null, options),
  taskStream: (options) => taskStream(() => null, options),
  ticketResolver: (options) => ticketResolver(options),
  taskCancel: (options) => taskCancel(() => null, options),
  "sse.writer": (options) => readWriterOptions(options),
} satisfies Readonly<Record<string, Check>>;

/** Some limits depend on other limits. These values allow the whole range of the option that is tested. */
const ROOM: Readonly<Record<string, Options>> = {
  "limits.maxEventBytes": { maxBufferedBytes: MAX },
  "limits.maxBufferedBytes": { maxEventBytes: 4 },
  "limits.maxTotalBufferedBytes": { maxEventBytes: 4, maxBufferedBytes: 4 },
};

describe("docs/configuration.md", () => {
  let rows: readonly Row[];
  let sse: RedisSse;

  before(async () => {
    rows = readRows(await readFile(PAGE, "utf8"));
    sse = createRedisSse();
  });

  after(() => sse.close());

  const rowsOf = (call: string): readonly Row[] => rows.filter((row) => row.call === call);
  const namesOf = (call: string): readonly string[] => rowsOf(call).map(({ name }) => name);

  it("lists the options of createRedisSse()", async () => {
    const names = namesOf("createRedisSse");
    const groups = ["pool", "history", "limits", "slowConsumer"];
    const groupOf = (name: string): string => name.split(".")[0]!;
    expect(new Set(names.map(groupOf))).to.have.all.keys(await acceptedBy(CHECKS.createRedisSse));
    for (const group of groups) {
      const accepted = await acceptedBy((options) => CHECKS.createRedisSse({ [group]: options }));
      const listed = names.filter((name) => name.startsWith(`${group}.`));
      expect(listed).to.have.members(accepted.map((name) => `${group}.${name}`));
    }
  });

  it("lists the options of mounts and writers", async () => {
    for (const call of ["sseStream", "taskStream", "taskCancel", "ticketResolver", "sse.writer"] as const) {
      expect(namesOf(call), call).to.have.members(await acceptedBy(CHECKS[call]));
    }
    // This call accepts unknown names, so the compiler has to compare.
    const known: Readonly<Record<keyof RedisPoolStatusOptions, true>> = { service: true, authorize: true };
    expect(namesOf("redisPoolStatus")).to.have.members(Object.keys(known));
  });

  it("lists the options of publish(), drain(), status() and issue()", async () => {
    const calls: Readonly<Record<string, Check>> = {
      "sse.publish": (options) => sse.publish("a", { data: 1 }, options),
      "sse.drain": (options) => sse.drain(options),
      "sse.status": (options) => sse.status(options),
      "sse.tickets.issue": (options) => sse.tickets.issue(options as never),
    };
    for (const [call, check] of Object.entries(calls)) {
      expect(namesOf(call), call).to.have.members(await acceptedBy(check));
    }
  });

  it("gives the defaults", () => {
    const { policy, checkMs } = readOptions().history;
    const { keyPrefix, subscriptions, pool, limits, heartbeatMs, retryMs, slowConsumer } = readOptions();
    const history = { ...policy("any"), checkMs };
    const defaults = { keyPrefix, subscriptions, pool, limits, history, heartbeatMs, retryMs, slowConsumer };
    expectDefaults(rowsOf("createRedisSse"), flatten(defaults));
    expectDefaults(rowsOf("sse.writer"), readWriterOptions({}));
  });

  it("gives the ranges of numbers", () => {
    let count = 0;
    for (const [call, check] of Object.entries<Check>(CHECKS)) {
      for (const row of rowsOf(call)) {
        const range = /^([\d,]+) to ([\d,]+|max)(?=$|, or | \()/.exec(row.range);
        if (range === null) continue;
        const [least, most] = [parseNumber(range[1]!), parseNumber(range[2]!)];
        const alternatives = [Infinity, false].filter((value) => row.range.includes(`or \`${value}\``));
        const isAccepted = (value: unknown): boolean => accepts(check, row.name, value);
        expect([least, most, ...alternatives].map(isAccepted), row.name).to.not.include(false);
        const wrong = [least - 1, most + 1, Infinity, false].filter(
          (value) => !alternatives.includes(value as number),
        );
        expect(wrong.map(isAccepted), row.name).to.not.include(true);
        count++;
      }
    }
    expect(count).to.be.greaterThan(25);
  });
});

/** Reads the tables whose header has a column `option`. */
function readRows(page: string): readonly Row[] {
  const rows: Row[] = [];
  let section = "";
  let columns: readonly string[] | null = null;
  for (const line of page.split("\n")) {
    section = /^## ([\w.]+)/.exec(line)?.[1] ?? section;
    if (!line.startsWith("|")) columns = null;
    else if (columns === null) columns = cellsOf(line);
    else if (columns.includes("option") && !/^[\s|:-]+$/.test(line)) {
      const cells = cellsOf(line);
      const cell = (name: string): string => cells[columns!.indexOf(name)] ?? "";
      rows.push({
        call: cell("call").replaceAll(/[`()]/g, "") || section,
        name: cell("option").replaceAll("`", ""),
        fallback: cell("default").replace(/ \(.*\)$/, ""),
        range: cell("range"),
      });
    }
  }
  return rows;
}

const cellsOf = (line: string): readonly string[] =>
  line
    .slice(1, -1)
    .split("|")
    .map((cell) => cell.trim());

/** The option names that a call accepts: its error for an unknown option lists them. */
async function acceptedBy(check: Check): Promise<readonly string[]> {
  try {
    await check({ noSuchOption: true });
  } catch (error) {
    const listed = /to have only (.*); got "noSuchOption"$/.exec((error as Error).message)?.[1];
    if (listed !== undefined) return listed.split(", ");
    throw error;
  }
  throw new Error("expected an error that lists the options");
}

function accepts(check: Check, name: string, value: unknown): boolean {
  const [group, member] = name.split(".") as [string, string | undefined];
  const options = member === undefined ? { [name]: value } : { [group]: { ...ROOM[name], [member]: value } };
  try {
    check(options);
    return true;
  } catch (error) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
}

function expectDefaults(rows: readonly Row[], defaults: Options): void {
  for (const [name, value] of Object.entries(defaults)) {
    const row = rows.find((each) => each.name === name);
    expect(row?.fallback, name).to.equal(textOf(value));
  }
}

function flatten(groups: Options): Options {
  return Object.fromEntries(
    Object.entries(groups).flatMap(([group, value]) =>
      typeof value === "object"
        ? Object.entries(value as Options).map(([name, each]) => [`${group}.${name}`, each])
        : [[group, value]],
    ),
  );
}

/** A value as the page writes it. */
function textOf(value: unknown): string {
  if (value === Infinity) return "`Infinity`";
  return typeof value === "number" ? value.toLocaleString("en") : `\`${JSON.stringify(value)}\``;
}

const parseNumber = (text: string): number => (text === "max" ? MAX : Number(text.replaceAll(",", "")));
