import { execFile, fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";

import type { Context } from "mocha";

import { endWithTests } from "./end-with-tests.js";
import { adviceFor, locate } from "./prerequisites.js";

const run = promisify(execFile);

/** Addresses of clients, which tests can take away. */
export type Address = (typeof ADDRESSES)[number];

const ADDRESSES = ["10.99.0.2", "10.99.0.3", "fd99::2"] as const;

/** Address of the server for these clients. */
export const SERVER = { ipv4: "10.99.0.1", ipv6: "fd99::1" } as const;

/** A process that runs in a network and keeps it alive. */
export type Place = "server" | "client";

/**
 * Two networks with a wire between them. Each is a kernel namespace with a process in it. A test can take an address
 * away, together with its open connections. Packets to the address are then lost without an error.
 */
export class TestNetwork {
  readonly #children: ChildProcess[] = [];
  #server!: ChildProcess;
  #client!: ChildProcess;

  /** For a `before` hook. The suite is skipped if this machine cannot create networks. */
  static async need(context: Context): Promise<void> {
    context.timeout(300_000);
    const fault = (await locate("ip")) === null ? adviceFor("ip") : await tryOut();
    if (fault === null) return;
    console.warn(`      skipped: ${fault}`);
    context.skip();
  }

  /** Starts the two processes and connects them with a wire. The server's network also has `lo`. */
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
      // So that an address can be used at once, without duplicate address detection.
      await this.ip(place, `link set ${link} addrgenmode none`);
      await this.ip(place, `link set ${link} up`);
    }
    await this.ip("server", `addr add ${SERVER.ipv4}/24 dev toclient`);
    await this.ip("server", `addr add ${SERVER.ipv6}/64 dev toclient nodad`);
    const { stdout } = await this.#ip("client", ["-j", "link", "show", "toserver"]);
    const [{ address: mac }] = JSON.parse(stdout) as [{ address: string }];
    for (const address of ADDRESSES) {
      // Otherwise the server's kernel would notice that the address is gone.
      await this.ip("server", `neigh replace ${address} lladdr ${mac} dev toclient nud permanent`);
      await this.restore(address);
    }
  }

  /** Starts another process in the server's network. Its connections to the server do not use the wire. */
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

  /** From now on, all packets to and from this address are lost. */
  async takeAway(address: Address): Promise<void> {
    await this.ip("client", `addr del ${address}/${widthOf(address)} dev toserver`);
  }

  async restore(address: Address): Promise<void> {
    const isIPv6 = address.includes(":");
    await this.ip("client", `addr add ${address}/${widthOf(address)} dev toserver${isIPv6 ? " nodad" : ""}`);
    await this.ip("client", `route replace ${isIPv6 ? SERVER.ipv6 : SERVER.ipv4} dev toserver`);
  }

  /** Ends all processes, which removes the networks. */
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

/** The reason why this machine cannot create networks, or `null` if it can. */
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
