import { setTimeout as pause } from "node:timers/promises";

import type { Cluster, Redis } from "ioredis";

import { historyKeys } from "../../lib/history/history-keys.js";
import { RedisCluster, type ClusterNode } from "../support/redis-cluster.js";
import { RedisSentinel } from "../support/redis-sentinel.js";
import { RedisServer } from "../support/redis-server.js";
import { within } from "../soak/patience.js";
import { CHANNELS } from "./channels.js";
import type { FaultKind } from "./fault-plan.js";
import type { Topology } from "./options.js";
import type { RedisAddress } from "./redis-address.js";

/** An event that was acknowledged survives a crash: without that nothing could be asked of a crash. */
const DURABLE = ["--appendonly", "yes", "--appendfsync", "always"];
/** For a server to answer; it may be under a fault. */
const PATIENCE_MS = 2_000;

/** The servers of a run, whatever they form, and what can be done to them. */
export interface Redises {
  readonly address: RedisAddress;
  /** The port of the one server; `null` where there are several, and links do not go over proxies. */
  readonly port: number | null;
  /** What is kept, to look at. */
  readonly store: Redis | Cluster;
  /** Faults after which another server may take over that has not received the newest events. */
  readonly losing: ReadonlySet<FaultKind>;
  /** Whether messages pass between nodes on their way, and are lost with the link between these. */
  readonly forwards: boolean;
  /** Asks each server that answers. */
  command(send: (admin: Redis) => Promise<unknown>): Promise<void>;
  /** Each of these resolves when the servers are whole again. */
  crash(choice: number, durationMs: number): Promise<void>;
  freeze(choice: number, durationMs: number): Promise<void>;
  failOver(choice: number): Promise<void>;
  moveSlot(choice: number, durationMs: number): Promise<void>;
  stop(): Promise<void>;
}

export function startRedises(program: string, topology: Topology): Promise<Redises> {
  if (topology === "cluster") return startCluster(program);
  return topology === "sentinel" ? startSentinel(program) : startSingle(program);
}

async function startSingle(program: string): Promise<Redises> {
  const server = await RedisServer.start(program, DURABLE);
  return {
    address: server.url,
    port: server.port,
    get store() {
      return server.admin;
    },
    losing: new Set(),
    forwards: false,
    command: (send) => askAll([server.admin], send),
    async crash(_, durationMs) {
      await server.kill();
      await pause(durationMs);
      await server.boot();
    },
    async freeze(_, durationMs) {
      server.signal("SIGSTOP");
      await pause(durationMs);
      server.signal("SIGCONT");
    },
    failOver: () => notThere("another server"),
    moveSlot: () => notThere("another server"),
    stop: () => server.stop(),
  };
}

async function startCluster(program: string): Promise<Redises> {
  const cluster = await RedisCluster.start(program, { server: DURABLE });
  /** More often a master: of a replica nobody notices much. */
  const chooseNode = async (choice: number): Promise<ClusterNode> => {
    const masters = await cluster.masters();
    return chosen([...masters, ...masters, ...cluster.nodes], choice);
  };
  return {
    address: { nodes: cluster.startup },
    port: null,
    store: cluster.client(),
    losing: new Set(["crash-redis", "stop-redis"]),
    forwards: true,
    command: (send) =>
      askAll(
        cluster.alive.map(({ admin }) => admin),
        send,
      ),
    async crash(choice, durationMs) {
      const node = await chooseNode(choice);
      await node.kill();
      await pause(durationMs);
      await cluster.heal();
    },
    async freeze(choice, durationMs) {
      const node = await chooseNode(choice);
      node.freeze();
      await pause(durationMs);
      await cluster.heal();
    },
    async failOver(choice) {
      await cluster.failover(await cluster.replicaOf(chosen(await cluster.masters(), choice)));
    },
    async moveSlot(choice, durationMs) {
      const { log } = historyKeys("sse:", chosen(CHANNELS, choice));
      const from = await cluster.masterOf(log);
      const others = (await cluster.masters()).filter((node) => node !== from);
      await cluster.migrateSlot(log, chosen(others, (choice * CHANNELS.length) % 1), { holdMs: durationMs });
    },
    stop: () => cluster.stop(),
  };
}

async function startSentinel(program: string): Promise<Redises> {
  const rig = await RedisSentinel.start(program, { server: DURABLE });
  let master = await rig.master();
  let frozen: RedisServer | null = null;
  const becomeWhole = async (): Promise<void> => {
    await rig.untilWatched();
    master = await rig.master();
  };
  return {
    address: rig.options,
    port: null,
    get store() {
      return master.admin;
    },
    // Asked for a failover, the Sentinels promote the replica first, and tell the old master afterwards.
    losing: new Set(["crash-redis", "stop-redis", "fail-over"]),
    forwards: false,
    command: (send) =>
      askAll(
        rig.servers.filter((server) => server.running && server !== frozen).map(({ admin }) => admin),
        send,
      ),
    async crash(_, durationMs) {
      const server = await rig.killMaster();
      await pause(durationMs);
      await server.boot();
      await becomeWhole();
    },
    async freeze(_, durationMs) {
      frozen = await rig.freezeMaster();
      await pause(durationMs);
      rig.thaw();
      frozen = null;
      await becomeWhole();
    },
    async failOver() {
      await rig.failover();
      await becomeWhole();
    },
    moveSlot: () => notThere("a slot"),
    stop: () => rig.stop(),
  };
}

async function askAll(admins: readonly Redis[], send: (admin: Redis) => Promise<unknown>): Promise<void> {
  await Promise.all(admins.map((admin) => within(PATIENCE_MS, send(admin))));
}

function notThere(what: string): Promise<never> {
  return Promise.reject(new Error(`there is not ${what}`));
}

function chosen<T>(all: readonly T[], choice: number): T {
  return all[Math.floor(choice * all.length)]!;
}
