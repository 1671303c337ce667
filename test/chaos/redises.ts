import { setTimeout as pause } from "node:timers/promises";

import { Redis, type Cluster } from "ioredis";

import { historyKeys } from "../../lib/history/history-keys.js";
import { RedisCluster, type ClusterNode } from "../support/redis-cluster.js";
import { RedisSentinel } from "../support/redis-sentinel.js";
import { RedisServer } from "../support/redis-server.js";
import { CHANNELS, type RedisAddress } from "./channels.js";
import type { FaultKind } from "./fault-plan.js";
import { APP_USER } from "./faults.js";
import type { Window } from "./losses.js";
import type { Topology } from "./options.js";
import { machineNow, until, within } from "./patience.js";

/** Acknowledged events survive a crash. Otherwise crash tests could not check them. */
const DURABLE = ["--appendonly", "yes", "--appendfsync", "always"];
/** Time for a server to answer, even during a fault. */
const PATIENCE_MS = 2_000;
/** A Sentinel looks at a replica every ten seconds. */
const WATCHED_MS = 30_000;
const LINKED_MS = 20_000;
/** Around the time when the Sentinels name a new master, the old and the new master can both accept writes. */
const SWITCH_MS = 12_000;
/** The failover kills the connections, also paused ones. */
const PAUSE_MS = 10_000;

/** The servers of a run in any topology, with their faults. */
export interface Redises {
  readonly address: RedisAddress;
  /** Port of a single server. `null` for several servers, whose connections do not use proxies. */
  readonly port: number | null;
  /** Client to read the stored data. */
  readonly store: Redis | Cluster;
  /** Whether a server can be promoted that lacks the newest events. */
  readonly mayLose: boolean;
  /** Times in which that can have happened. */
  readonly losing: readonly Window[];
  /** Times in which nodes did not receive each other's messages without history. */
  readonly deaf: readonly Window[];
  /** Sends a command to each server that answers. */
  command(send: (admin: Redis) => Promise<unknown>): Promise<void>;
  /** Each function resolves when the servers are healthy again. */
  readonly faults: Partial<
    Readonly<Record<FaultKind, (choice: number, durationMs: number) => Promise<unknown>>>
  >;
  stop(): Promise<void>;
}

export function startRedises(program: string, topology: Topology): Promise<Redises> {
  if (topology === "cluster") return startCluster(program);
  return topology === "sentinel" ? startSentinel(program) : startSingle(program);
}

async function startSingle(program: string): Promise<Redises> {
  const { name, password } = APP_USER;
  // The user is set on the command line. Otherwise a restarted server would refuse the apps until it knows the user.
  const user = ["--user", name, "on", `>${password}`, "~*", "&*", "+@all"];
  const server = await RedisServer.start(program, [...DURABLE, ...user]);
  return {
    address: server.url,
    port: server.port,
    get store() {
      return server.admin;
    },
    mayLose: false,
    losing: [],
    deaf: [],
    command: (send) => askAll([server.admin], send),
    faults: {
      async "crash-redis"(_, durationMs) {
        await server.kill();
        await pause(durationMs);
        await server.boot();
      },
      async "stop-redis"(_, durationMs) {
        server.signal("SIGSTOP");
        await pause(durationMs);
        server.signal("SIGCONT");
      },
    },
    stop: () => server.stop(),
  };
}

async function startCluster(program: string): Promise<Redises> {
  const cluster = await RedisCluster.start(program, { server: DURABLE, cuttable: true });
  const losing: Window[] = [];
  const deaf: Window[] = [];
  /** Prefers masters, because a fault of a replica has little effect. */
  const chooseNode = async (choice: number): Promise<ClusterNode> => {
    const masters = await cluster.masters();
    return chosen([...masters, ...masters, ...cluster.nodes], choice);
  };
  return {
    address: { nodes: cluster.startup },
    port: null,
    store: cluster.client(),
    mayLose: true,
    losing,
    deaf,
    command: (send) =>
      askAll(
        cluster.alive.map(({ admin }) => admin),
        send,
      ),
    faults: {
      async "crash-redis"(choice, durationMs) {
        const node = await chooseNode(choice);
        await during(losing, async () => {
          await node.kill();
          await pause(durationMs);
          await cluster.heal();
        });
      },
      async "stop-redis"(choice, durationMs) {
        const node = await chooseNode(choice);
        await during(losing, async () => {
          node.freeze();
          await pause(durationMs);
          await cluster.heal();
        });
      },
      async "fail-over"(choice) {
        await cluster.failover(await cluster.replicaOf(chosen(await cluster.masters(), choice)));
      },
      async "move-slot"(choice, durationMs) {
        const { log } = historyKeys("sse:", chosen(CHANNELS, choice));
        const from = await cluster.masterOf(log);
        const others = (await cluster.masters()).filter((node) => node !== from);
        await cluster.migrateSlot(log, chosen(others, (choice * CHANNELS.length) % 1), durationMs);
      },
      async "cut-bus"(choice, durationMs) {
        const masters = await cluster.masters();
        const node = await chooseNode(choice);
        const others = cluster.nodes.filter((other) => other !== node);
        const part = (choice * 100) % 1;
        const window = await during(deaf, async () => {
          // Half of the time cut from all other nodes, otherwise from one. One cut causes no failover.
          cluster.cutBus(node, part < 0.5 ? others : [chosen(others, part * 2 - 1)]);
          await pause(durationMs);
          await cluster.heal();
        });
        if ((await cluster.masters()).some((master) => !masters.includes(master))) losing.push(window);
      },
    },
    stop: () => cluster.stop(),
  };
}

async function startSentinel(program: string): Promise<Redises> {
  const rig = await RedisSentinel.start(program, { server: DURABLE });
  const losing: Window[] = [];
  let master = await rig.master();
  let frozen: RedisServer | null = null;
  /** A replaced master follows the new master as soon as there is one. */
  const follow = async (): Promise<void> => {
    const attempt = async (): Promise<void> => {
      master = await rig.master();
      for (const server of rig.servers) if (server !== master) await demote(server, master);
      await expectLinked(rig.servers);
    };
    await until("all but one follow the master", attempt, LINKED_MS);
  };
  // On a busy machine, the Sentinels can replace a master that is only slow or has just restarted.
  const sentinel = new Redis(rig.options.sentinels[0]!);
  sentinel.on("error", () => {});
  sentinel.on("message", () => {
    if (losing.some(({ to }) => to === Infinity)) return;
    losing.push({ from: machineNow() - SWITCH_MS, to: machineNow() + SWITCH_MS });
    void follow().catch(() => {});
  });
  await sentinel.subscribe("+switch-master");
  return {
    address: rig.options,
    port: null,
    get store() {
      return master.admin;
    },
    mayLose: true,
    losing,
    deaf: [],
    command: (send) =>
      askAll(
        rig.servers.filter((server) => server.running && server !== frozen).map(({ admin }) => admin),
        send,
      ),
    faults: {
      async "crash-redis"(_, durationMs) {
        await rig.untilWatched(WATCHED_MS);
        await during(losing, async () => {
          const server = await rig.killMaster();
          await pause(durationMs);
          await server.boot();
          // It restarts in its original role, but its role has changed since.
          if ((await rig.master()) === server) await server.admin.replicaof("NO", "ONE");
          await follow();
        });
      },
      async "stop-redis"(_, durationMs) {
        await rig.untilWatched(WATCHED_MS);
        await during(losing, async () => {
          frozen = await rig.freezeMaster();
          await pause(durationMs);
          rig.thaw();
          frozen = null;
          await follow();
        });
      },
      async "fail-over"() {
        await rig.untilWatched(WATCHED_MS);
        // The Sentinels promote the replica while the old master still accepts writes. So the test stops the writes
        // first, as an operator does.
        const server = await rig.master();
        await server.admin.call("CLIENT", "PAUSE", PAUSE_MS, "WRITE");
        await until("the replica has everything", () => expectSame(rig.servers), LINKED_MS);
        await during(losing, async () => {
          await rig.failover();
          await follow();
        });
      },
    },
    stop: () => {
      sentinel.disconnect();
      return rig.stop();
    },
  };
}

/**
 * Makes a replaced master a replica, with the commands of a Sentinel. A Sentinel waits eight seconds before it does
 * this. In that time both accept writes, and lost events could not be determined.
 */
async function demote(server: RedisServer, master: RedisServer): Promise<void> {
  const { admin } = server;
  const [role] = (await admin.role()) as [string];
  if (role !== "master") return;
  await admin
    .multi()
    .replicaof("127.0.0.1", master.port)
    .call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    .call("CLIENT", "KILL", "TYPE", "pubsub")
    .exec();
}

async function expectLinked(servers: readonly RedisServer[]): Promise<void> {
  const views = await Promise.all(servers.map(({ admin }) => admin.info("replication")));
  const linked = views.filter((view) => view.includes("master_link_status:up"));
  if (linked.length !== servers.length - 1) throw new Error(`${linked.length} of them do`);
}

async function expectSame(servers: readonly RedisServer[]): Promise<void> {
  const views = await Promise.all(servers.map(({ admin }) => admin.info("replication")));
  const offsets = views.map((view) => /^(?:master|slave)_repl_offset:(\d+)/m.exec(view)?.[1]);
  if (new Set(offsets).size > 1) throw new Error(offsets.join(" and "));
}

async function during(windows: Window[], work: () => Promise<void>): Promise<Window> {
  const window = { from: machineNow(), to: Infinity };
  windows.push(window);
  try {
    await work();
  } finally {
    window.to = machineNow();
  }
  return window;
}

async function askAll(admins: readonly Redis[], send: (admin: Redis) => Promise<unknown>): Promise<void> {
  await Promise.all(admins.map((admin) => within(PATIENCE_MS, send(admin))));
}

function chosen<T>(all: readonly T[], choice: number): T {
  return all[Math.floor(choice * all.length)]!;
}
