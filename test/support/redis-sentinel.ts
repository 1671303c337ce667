import { expect } from "chai";

import { eventually } from "./eventually.js";
import { expectReplicated, RedisServer } from "./redis-server.js";

const NAME = "redis-sse-test";
const DOWN_AFTER_MS = 1_000;
const FAILOVER_TIMEOUT_MS = 2_000;

/** Arguments for `new Redis(...)` that find the master. */
export interface SentinelAddress {
  readonly sentinels: { host: string; port: number }[];
  readonly name: string;
}

/** Real servers: a master, its replica and three Sentinels. */
export class RedisSentinel {
  readonly servers: readonly RedisServer[];
  readonly #sentinels: readonly RedisServer[];
  readonly #frozen = new Set<RedisServer>();

  private constructor(servers: readonly RedisServer[], sentinels: readonly RedisServer[]) {
    this.servers = servers;
    this.#sentinels = sentinels;
  }

  /** `program` is the result of `need("redis", context)`. `server` has additional arguments of master and replica. */
  static async start(
    program: string,
    { server = [] }: { readonly server?: readonly string[] } = {},
  ): Promise<RedisSentinel> {
    const servers: RedisServer[] = [];
    const sentinels: RedisServer[] = [];
    const rig = new RedisSentinel(servers, sentinels);
    try {
      const soon = ["--repl-diskless-sync", "no", "--repl-ping-replica-period", "1", ...server];
      const master = await RedisServer.start(program, soon);
      servers.push(master);
      const replica = await RedisServer.start(program, [
        ...soon,
        "--replicaof",
        "127.0.0.1",
        String(master.port),
      ]);
      servers.push(replica);
      // A Sentinel looks for replicas every ten seconds. It must find this replica at its first look.
      await eventually(async () => {
        expect(await replica.admin.info("replication")).to.include("master_link_status:up");
        await expectReplicated(master, replica.port);
      }, 10_000);
      for (let count = 0; count < 3; count++)
        sentinels.push(await RedisServer.start(program, configurationOf(master.port)));
      await rig.untilWatched();
      return rig;
    } catch (error) {
      await rig.stop();
      throw error;
    }
  }

  get options(): SentinelAddress {
    return {
      name: NAME,
      sentinels: this.#sentinels.map(({ port }) => ({ host: "127.0.0.1", port })),
    };
  }

  /** The master, if all Sentinels agree on it. */
  async master(): Promise<RedisServer> {
    const ports = await Promise.all(
      this.#sentinels.map(async ({ admin }) => {
        const [, port] = (await admin.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)) as [string, string];
        return Number(port);
      }),
    );
    expect(new Set(ports).size, "masters to the Sentinels").to.equal(1);
    const server = this.servers.find(({ port }) => port === ports[0]);
    if (server === undefined) throw new Error(`a master that is not of this rig: ${ports[0]}`);
    return server;
  }

  /** Freezes the master. Resolves with it. */
  async freezeMaster(): Promise<RedisServer> {
    const master = await this.master();
    master.signal("SIGSTOP");
    this.#frozen.add(master);
    return master;
  }

  /** Resumes all frozen servers. */
  thaw(): void {
    for (const server of this.#frozen) server.signal("SIGCONT");
    this.#frozen.clear();
  }

  /** Kills the master, as in a crash. Resolves with it. `boot()` starts it again. */
  async killMaster(): Promise<RedisServer> {
    const master = await this.master();
    this.#frozen.delete(master);
    await master.kill();
    return master;
  }

  /** Resolves when all Sentinels name another master that accepts writes. */
  async untilReplaced(old: RedisServer, timeoutMs = 20_000): Promise<RedisServer> {
    return eventually(async () => {
      const master = await this.master();
      expect(master.port, "the port of the master").not.to.equal(old.port);
      const [role] = (await master.admin.role()) as [string];
      expect(role, "the role of the new master").to.equal("master");
      return master;
    }, timeoutMs);
  }

  /** Makes the Sentinels swap master and replica. */
  async failover(): Promise<RedisServer> {
    const old = await this.master();
    // The Sentinels refuse this until they know a good replica, and for some time after the last failover.
    await eventually(() => this.#sentinels[0]!.admin.call("SENTINEL", "FAILOVER", NAME), 20_000);
    return this.untilReplaced(old);
  }

  /**
   * Repairs all faults. Resolves when the next failover is possible. Without help, the Sentinels would need up to
   * half a minute, because they ask for the roles every ten seconds.
   */
  async heal(): Promise<void> {
    this.thaw();
    for (const server of this.servers) if (!server.running) await server.boot();
    const master = await this.master();
    await eventually(async () => {
      for (const server of this.servers) {
        if (server === master) continue;
        if (/role:master/.test(await server.admin.info("replication"))) {
          await server.admin.replicaof("127.0.0.1", master.port);
        }
        expect(await server.admin.info("replication")).to.include("master_link_status:up");
        await expectReplicated(master, server.port);
      }
    }, 10_000);
    for (const { admin } of this.#sentinels) await admin.call("SENTINEL", "RESET", NAME);
    await this.untilWatched();
  }

  /** Resolves when every Sentinel knows the others and a master with a connected replica. */
  async untilWatched(timeoutMs = 20_000): Promise<void> {
    await eventually(async () => {
      for (const { admin } of this.#sentinels) {
        const master = pairs(await admin.call("SENTINEL", "MASTER", NAME));
        expect(master.get("flags"), "the flags of the master").to.equal("master");
        expect(master.get("num-other-sentinels"), "other Sentinels").to.equal("2");
        const replicas = (await admin.call("SENTINEL", "REPLICAS", NAME)) as unknown[];
        const there = replicas.map(pairs).filter((replica) => replica.get("master-link-status") === "ok");
        expect(there.length, "replicas that are linked").to.equal(1);
      }
    }, timeoutMs);
  }

  async stop(): Promise<void> {
    this.#frozen.clear();
    await Promise.all([...this.#sentinels, ...this.servers].map((each) => each.stop()));
  }
}

/** A Sentinel writes to its configuration file. */
function configurationOf(masterPort: number): (port: number, folder: string) => readonly string[] {
  return (port, folder) => [
    `port ${port}`,
    "bind 127.0.0.1",
    `dir ${folder}`,
    `sentinel monitor ${NAME} 127.0.0.1 ${masterPort} 2`,
    `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${NAME} ${FAILOVER_TIMEOUT_MS}`,
  ];
}

/** Converts a flat list of names and values. */
function pairs(reply: unknown): ReadonlyMap<string, string> {
  const list = reply as readonly string[];
  return new Map(
    list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1] ?? ""] as const] : [])),
  );
}
