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

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/**
 * That a replica is sent what the master does, from here on. With `repl-diskless-sync no`: else a master sends nothing before
 * an acknowledgement that may be a second away, and what is written until then is lost with it.
 */
export async function expectReplicated(master: RedisServer, replicaPort: number): Promise<void> {
  const replication = await master.admin.info("replication");
  expect(replication, `the master on port ${master.port}`).to.include(`port=${replicaPort},state=online`);
}

/** Arguments of a server, or the lines of the configuration of a Sentinel. */
export type ServerOptions = readonly string[] | ((port: number, folder: string) => readonly string[]);

/** A real server of the suite's own, and a connection to ask it what it sees. */
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
        // Another process may have taken the port meanwhile.
        await server.stop();
        if (attempt === 5) throw error;
      }
    }
  }

  /** Starts the process, again after `kill()`. */
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

  /** Whether there is a process, stopped or not. */
  get running(): boolean {
    return this.#process !== null;
  }

  /** A connection that is not counted by `connections()`. */
  get admin(): Redis {
    return this.#admin!;
  }

  /** Stops the process from answering, or lets it go on. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#process!.kill(signal);
  }

  /** Ends the process at once, as a crash would. */
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

  /** The names of all connections but the suite's own, as the server lists them; of ours `redis-sse:<role>`. */
  async connections(): Promise<readonly string[]> {
    return (await this.connectionNames()).map((name) => /^redis-sse:\w+/.exec(name)?.[0] ?? name);
  }

  /** As `connections()`, with the names in full. */
  async connectionNames(): Promise<readonly string[]> {
    const list = String(await this.admin.client("LIST"));
    return list
      .split("\n")
      .filter((line) => line !== "" && !/ flags=\w*[SM]/.test(line)) // not those of masters and replicas
      .map((line) => / name=(\S*)/.exec(line)?.[1] ?? "")
      .filter((name) => name !== "test:admin");
  }

  async activeChannels(): Promise<readonly string[]> {
    return (await this.admin.pubsub("CHANNELS")) as string[];
  }

  async receiversOf(channel: string): Promise<number> {
    const [, count] = (await this.admin.pubsub("NUMSUB", channel)) as [string, number];
    return count;
  }

  /**
   * How often a command was called, by anybody, since the server was started. Of `command|subcommand` Redis 6.2 counts the
   * command alone, with all of its subcommands.
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

  /** Cuts every subscribed connection, as the server itself does when one reads too slowly. */
  async killSubscribers(): Promise<void> {
    await this.admin.call("CLIENT", "KILL", "TYPE", "pubsub");
  }

  async rejectedConnections(): Promise<number> {
    return Number(/rejected_connections:(\d+)/.exec(await this.admin.info("stats"))?.[1]);
  }

  /** Remembers what the server sees now; the answer awaits that it sees the same again. */
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
