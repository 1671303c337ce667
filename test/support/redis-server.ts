import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { expect } from "chai";
import { Redis } from "ioredis";

import { endWithTests } from "./end-with-tests.js";
import { eventually } from "./eventually.js";

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/**
 * Expects that the replica receives all further commands of the master. Use it with `repl-diskless-sync no`.
 * Otherwise the master waits up to a second for an acknowledgement, and writes until then can be lost.
 */
export async function expectReplicated(master: RedisServer, replicaPort: number): Promise<void> {
  const replication = await master.admin.info("replication");
  expect(replication, `the master on port ${master.port}`).to.include(`port=${replicaPort},state=online`);
}

/** Arguments of a server, or configuration lines of a Sentinel. */
export type ServerOptions = readonly string[] | ((port: number, folder: string) => readonly string[]);

/** A real server for one suite, with a connection that shows its state. */
export class RedisServer {
  readonly port: number;
  readonly url: string;
  readonly #program: string;
  readonly #options: ServerOptions;
  #process: ChildProcess | null = null;
  #admin: Redis | null = null;
  #folder = "";

  private constructor(program: string, port: number, options: ServerOptions) {
    this.#program = program;
    this.#options = options;
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
  }

  static async start(
    program: string,
    options: ServerOptions = [],
    pickPort: () => Promise<number> = freePort,
  ): Promise<RedisServer> {
    for (let attempt = 1; ; attempt++) {
      const server = new RedisServer(program, await pickPort(), options);
      try {
        await server.boot();
        return server;
      } catch (error) {
        // Another process can have taken the port since.
        await server.stop();
        if (attempt === 5) throw error;
      }
    }
  }

  /** Starts the process, also after `kill()`. */
  async boot(): Promise<void> {
    this.#folder ||= await mkdtemp(join(tmpdir(), "redis-sse-test-"));
    const child = spawn(this.#program, await this.#arguments(), { stdio: ["ignore", "pipe", "ignore"] });
    this.#process = child;
    endWithTests(child);
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
      createInterface({ input: child.stdout }).on("line", (line) => {
        if (/Ready to accept connections|Sentinel ID is/.test(line)) resolve();
      });
    });
    this.#admin = new Redis(this.url, { connectionName: "test:admin", autoResubscribe: false });
    this.#admin.on("error", () => {});
    await this.#admin.ping();
  }

  async #arguments(): Promise<readonly string[]> {
    const folder = this.#folder;
    if (typeof this.#options !== "function") {
      const own = { port: String(this.port), bind: "127.0.0.1", save: "", dir: folder };
      return [...Object.entries(own).flatMap(([name, value]) => [`--${name}`, value]), ...this.#options];
    }
    const file = join(folder, "sentinel.conf");
    await writeFile(file, `${this.#options(this.port, folder).join("\n")}\n`);
    return [file, "--sentinel"];
  }

  /** Whether the process exists, frozen or not. */
  get running(): boolean {
    return this.#process !== null;
  }

  /** A connection that `connections()` does not count. */
  get admin(): Redis {
    return this.#admin!;
  }

  /** Freezes or resumes the process. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#process!.kill(signal);
  }

  /** Kills the process, as in a crash. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    this.#admin?.disconnect();
    if (child === null || child.exitCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Names of all connections except connections of the suite. Names of this library become `redis-sse:<role>`. */
  async connections(): Promise<readonly string[]> {
    return (await this.connectionNames()).map((name) => /^redis-sse:\w+/.exec(name)?.[0] ?? name);
  }

  /** Same as `connections()`, with the full names. */
  async connectionNames(): Promise<readonly string[]> {
    const list = String(await this.admin.client("LIST"));
    return list
      .split("\n")
      .filter((line) => line !== "" && !/ flags=\w*[SM]/.test(line)) // without connections between masters and replicas
      .map((line) => / name=(\S*)/.exec(line)?.[1] ?? "")
      .filter((name) => name !== "test:admin");
  }

  /** The subscribed channels, without those over which each process hears of revocations. */
  async activeChannels(): Promise<readonly string[]> {
    const channels = (await this.admin.pubsub("CHANNELS")) as string[];
    return channels.filter((channel) => !channel.startsWith("sse:revocations"));
  }

  async receiversOf(channel: string): Promise<number> {
    const [, count] = (await this.admin.pubsub("NUMSUB", channel)) as [string, number];
    return count;
  }

  /**
   * Number of calls of a command by any client since the start of the server. For `command|subcommand`, Redis 6.2
   * counts the command with all its subcommands.
   */
  async callsOf(command: string): Promise<number> {
    const statistics = await this.admin.info("commandstats");
    const [whole = ""] = command.split("|");
    for (const name of [command, whole]) {
      const line = statistics.split(/\r?\n/).find((text) => text.startsWith(`cmdstat_${name}:`));
      if (line !== undefined) return Number(/:calls=(\d+)/.exec(line)![1]);
    }
    return 0;
  }

  /** Cuts all subscribed connections, as the server does with slow subscribers. */
  async killSubscribers(): Promise<void> {
    await this.admin.call("CLIENT", "KILL", "TYPE", "pubsub");
  }

  async rejectedConnections(): Promise<number> {
    return Number(/rejected_connections:(\d+)/.exec(await this.admin.info("stats"))?.[1]);
  }

  /** Records the state of the server. The returned function waits until the state is the same again. */
  async baseline(): Promise<() => Promise<void>> {
    const connections = (await this.connections()).toSorted();
    const channels = (await this.activeChannels()).toSorted();
    return async () => {
      await eventually(async () => {
        expect((await this.connections()).toSorted(), "connections").to.deep.equal(connections);
        expect((await this.activeChannels()).toSorted(), "subscribed channels").to.deep.equal(channels);
      }, 10_000);
    };
  }
}
