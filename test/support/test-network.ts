import { execFile, fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";

import type { Context } from "mocha";

import { endWithTests } from "./end-with-tests.js";
import { adviceFor, locate } from "./prerequisites.js";

const run = promisify(execFile);

/** Addresses that clients may have, and lose. */
export type Address = (typeof ADDRESSES)[number];

const ADDRESSES = ["10.99.0.2", "10.99.0.3", "fd99::2"] as const;

/** Where the server is seen from there. */
export const SERVER = { ipv4: "10.99.0.1", ipv6: "fd99::1" } as const;

/** Who keeps a network alive as long as it lives, and runs in it. */
export type Place = "server" | "client";

/**
 * Two networks of a test's own with a wire between them, each a namespace of the kernel's with a process in it. An
 * address can be taken away, with all that is open from there: what is sent to it vanishes, and nobody says so.
 */
export class TestNetwork {
  readonly #children: ChildProcess[] = [];
  #server!: ChildProcess;
  #client!: ChildProcess;

  /** For a `before` hook: the suite is pending on a machine where no network can be made. */
  static async need(context: Context): Promise<void> {
    context.timeout(300_000);
    const fault = (await locate("ip")) === null ? adviceFor("ip") : await tryOut();
    if (fault === null) return;
    console.warn(`      skipped: ${fault}`);
    context.skip();
  }

  /** Starts the two processes, `server` beside its network's `lo`, and lays the wire. */
  async start(server: readonly [string, ...string[]], client: readonly [string, ...string[]]): Promise<void> {
    this.#server = this.#spawn("unshare", ["-rn"], server);
    await once(this.#server, "message");
    this.#client = this.#spawn("nsenter", [...this.#in("server", "-U"), "unshare", "-n"], client);
    await once(this.#client, "message");
    await this.ip("server", "link set lo up");
    await this.ip("server", `link add toclient type veth peer name toserver netns ${this.#client.pid!}`);
    for (const [place, link] of [
      ["server", "toclient"],
      ["client", "toserver"],
    ] as const) {
      // So that no address is being looked for before it can be used.
      await this.ip(place, `link set ${link} addrgenmode none`);
      await this.ip(place, `link set ${link} up`);
    }
    await this.ip("server", `addr add ${SERVER.ipv4}/24 dev toclient`);
    await this.ip("server", `addr add ${SERVER.ipv6}/64 dev toclient nodad`);
    const { stdout } = await this.#ip("client", ["-j", "link", "show", "toserver"]);
    const [{ address: mac }] = JSON.parse(stdout) as [{ address: string }];
    for (const address of ADDRESSES) {
      // Else the server's own system would notice that nobody has the address any more.
      await this.ip("server", `neigh replace ${address} lladdr ${mac} dev toclient nud permanent`);
      await this.restore(address);
    }
  }

  /** A process more, beside the server: what it opens to it is no matter of the wire. */
  async startBesideServer(script: readonly [string, ...string[]]): Promise<ChildProcess> {
    const child = this.#spawn("nsenter", this.#in("server", "-U", "-n"), script);
    await once(child, "message");
    return child;
  }

  get server(): ChildProcess {
    return this.#server;
  }

  get client(): ChildProcess {
    return this.#client;
  }

  /** From now on nothing reaches what is open at this address, and nothing comes from there. */
  async takeAway(address: Address): Promise<void> {
    await this.ip("client", `addr del ${address}/${widthOf(address)} dev toserver`);
  }

  async restore(address: Address): Promise<void> {
    const isIPv6 = address.includes(":");
    await this.ip("client", `addr add ${address}/${widthOf(address)} dev toserver${isIPv6 ? " nodad" : ""}`);
    await this.ip("client", `route replace ${isIPv6 ? SERVER.ipv6 : SERVER.ipv4} dev toserver`);
  }

  /** Ends all processes, and with them the networks. */
  async stop(): Promise<void> {
    await Promise.all(this.#children.splice(0).map(end));
  }

  async ip(place: Place, command: string): Promise<void> {
    await this.#ip(place, command.split(" "));
  }

  #ip(place: Place, args: readonly string[]): Promise<{ stdout: string }> {
    return run("nsenter", [...this.#in(place, "-U", "-n"), "ip", ...args]);
  }

  #in(place: Place, ...namespaces: readonly ("-U" | "-n")[]): readonly string[] {
    const { pid } = place === "server" ? this.#server : this.#client;
    return ["-t", String(pid), ...namespaces, "--preserve-credentials"];
  }

  #spawn(program: string, args: readonly string[], [script, ...rest]: readonly [string, ...string[]]) {
    const child = fork(script, rest, { execPath: program, execArgv: [...args, process.execPath] });
    this.#children.push(child);
    endWithTests(child);
    return child;
  }
}

function widthOf(address: Address): number {
  return address.includes(":") ? 128 : 32;
}

/** Why no network can be made here; `null` where it can. */
async function tryOut(): Promise<string | null> {
  const link = "ip link add veth0 type veth peer name veth1 && ip addr add fd99::1/64 dev veth0";
  try {
    await run("unshare", ["-rn", "sh", "-c", `command -v nsenter && ${link}`]);
    return null;
  } catch (error) {
    const { stderr = "", message } = error as Error & { stderr?: string };
    return `no network namespaces here: ${stderr.trim() || message}`;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}
