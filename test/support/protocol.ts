import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { Redis } from "ioredis";

/** A client written only from docs/protocol.md, as in another language. */
const TEXT = readFileSync(fileURLToPath(new URL("../../../docs/protocol.md", import.meta.url)), "utf8");

/** The first code block of this language below a heading, or in the whole document. */
export function blockOf(language: string, heading = ""): string {
  const block = new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(below(heading))?.[1];
  if (block === undefined) throw new Error(`no block of ${language} below "${heading}"`);
  return block;
}

/** The rows of the first table below a heading. The cells are unchanged text. */
export function tableOf(heading: string): readonly (readonly string[])[] {
  const table = /(?:^\|.*\|\n)+/m.exec(below(heading))?.[0];
  if (table === undefined) throw new Error(`no table below "${heading}"`);
  // A "|" in code is written as \|.
  const rows = table
    .trimEnd()
    .split("\n")
    .map((line) => line.slice(1, -1).split(/(?<!\\)\|/));
  return rows.slice(2).map((cells) => cells.map((cell) => cell.trim()));
}

/** All `code` parts of a text. */
export function codesIn(text: string): readonly string[] {
  return Array.from(text.matchAll(/`([^`]+)`/g), ([, code]) => code!);
}

/** The paragraph that starts with this text. */
export function paragraph(beginning: string): string {
  const found = TEXT.split("\n\n").find((each) => each.startsWith(beginning));
  if (found === undefined) throw new Error(`no paragraph "${beginning}"`);
  return found;
}

function below(heading: string): string {
  const start = heading === "" ? 0 : TEXT.search(new RegExp(`^#+ ${heading}`, "m"));
  if (start < 0) throw new Error(`no heading "${heading}"`);
  return TEXT.slice(start);
}

export interface ForeignCall {
  readonly event?: string;
  readonly data?: string;
  readonly ending?: string;
  readonly maxLength?: number | string;
  readonly maxAgeMs?: number | string;
  readonly epoch?: string;
  readonly producer?: string;
  readonly sequence?: number | string;
  readonly finite?: boolean;
}

/** A plain client that knows only the document. */
export interface ForeignProgram {
  /** Sends a command. Rejects with the server's error. */
  command(name: string, ...args: readonly string[]): Promise<string>;
  /** Calls the script. Returns its status and the rest of its reply. */
  publish(channel: string, call: ForeignCall, keys?: readonly string[]): Promise<readonly string[]>;
  close(): void;
}

export interface Login {
  readonly username: string;
  readonly password: string;
}

const SCRIPT = blockOf("lua");
const STATUSES = new Set(["ok", "repeated", "completed", "invalid"]);

export function startForeignProgram(port: number, login?: Login): ForeignProgram {
  const client = new Redis({ port, ...login, lazyConnect: true, enableReadyCheck: false });
  const command = async (name: string, ...args: readonly string[]): Promise<string> => {
    const reply: unknown = await client.call(name, ...args);
    return Array.isArray(reply) ? reply.join("\n") : String(reply);
  };
  return {
    command,
    async publish(channel, call, keys = [`sse:pos:{${channel}}`, `sse:log:{${channel}}`]) {
      const { event = "", data = "", ending = "", maxLength = 1000, maxAgeMs = 3_600_000 } = call;
      const { epoch = "0badcafe", producer = "", sequence = "", finite = false } = call;
      const args = [channel, event, data, ending, maxLength, maxAgeMs, epoch, producer, sequence];
      if (finite) args.push("1");
      const reply = (await command("EVAL", SCRIPT, "2", ...keys, ...args.map(String))).split("\n");
      if (!STATUSES.has(reply[0]!)) throw new Error(reply.join("\n"));
      return reply;
    },
    close: () => client.disconnect(),
  };
}
