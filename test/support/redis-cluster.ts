import { once } from "node:events";
import { createServer } from "node:net";

import { expect } from "chai";
import { Cluster, type Redis } from "ioredis";

import { eventually } from "./eventually.js";
import { expectReplicated, freePort, RedisServer } from "./redis-server.js";
import { TcpProxy } from "./tcp-proxy.js";

const SLOTS = 16_384;
const BUS_OFFSET = 10_000;
const NODE_TIMEOUT_MS = 1_000;

export interface ClusterShape {
  readonly masters?: number;
  /** Replicas per master. */
  readonly replicas?: number;
  /** Additional arguments of each `redis-server`. */
  readonly server?: readonly string[];
  /** Whether the cluster bus uses proxies, for `cutBus()`. */
  readonly cuttable?: boolean;
}

/** Arguments for `new Cluster(...)` in an app. */
export type ClientOptions = NonNullable<ConstructorParameters<typeof Cluster>[1]>;

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** One line of `CLUSTER NODES`. */
interface NodeLine {
  readonly id: string;
  readonly flags: readonly string[];
  /** The id of its master, or "-" for a master. */
  readonly master: string;
  readonly epoch: number;
  /** Whether the node has a bus link to it. */
  readonly linked: boolean;
  readonly slots: readonly (readonly [number, number])[];
}

/** One server of a cluster. */
export class ClusterNode {
  readonly id: string;
  readonly server: RedisServer;
  /** Proxy for the bus of this node. `null` if the others connect directly. */
  readonly bus: TcpProxy | null;
  #frozen = false;

  constructor(id: string, server: RedisServer, bus: TcpProxy | null) {
    this.id = id;
    this.server = server;
    this.bus = bus;
  }

  get port(): number {
    return this.server.port;
  }

  get busPort(): number {
    return this.bus?.port ?? this.port + BUS_OFFSET;
  }

  /** A connection for the test. It is new after `restart()`. */
  get admin(): Redis {
    return this.server.admin;
  }

  /** Whether the process runs and answers. */
  get alive(): boolean {
    return this.server.running && !this.#frozen;
  }

  /** Whether the node reports itself as master. A node that does not answer is not a master. */
  async isMaster(): Promise<boolean> {
    if (!this.alive) return false;
    const [role] = (await this.admin.role()) as [string];
    return role === "master";
  }

  /** Kills the process, as in a crash. */
  async kill(): Promise<void> {
    this.#frozen = false;
    await this.server.kill();
  }

  /** Freezes the process, as a host that hangs. Its connections stay open. */
  freeze(): void {
    this.server.signal("SIGSTOP");
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    this.server.signal("SIGCONT");
  }

  /** Starts the process again after `kill()`. It knows its cluster but has lost its data. */
  async restart(): Promise<void> {
    await this.server.boot();
  }

  /** The cluster as this node sees it. */
  async view(): Promise<readonly NodeLine[]> {
    return parseNodes(String(await this.admin.cluster("NODES")));
  }

  /** Names of all client connections, except connections of the suite. */
  async connectionNames(): Promise<readonly string[]> {
    return (await this.server.connectionNames()).filter((name) => !name.startsWith("test:"));
  }
}

/** A slot during its migration. Both nodes know about it, and each key is on one of them. */
export interface SlotMigration {
  readonly slot: number;
  /**
   * Moves the keys of the slot, or this many of them. Redis then answers TRYAGAIN to calls that need keys on both
   * nodes.
   */
  moveKeys(most?: number): Promise<void>;
  /** Moves the remaining keys and assigns the slot to its new node on all nodes. */
  finish(): Promise<void>;
}

/** Real servers that form a cluster for one suite. */
export class RedisCluster {
  readonly nodes: readonly ClusterNode[];
  readonly #clients: Cluster[] = [];
  readonly #migrations = new Set<SlotMigration>();

  private constructor(nodes: readonly ClusterNode[]) {
    this.nodes = nodes;
  }

  /** `program` is the result of `need("redis", context)`. */
  static async start(
    program: string,
    { masters = 3, replicas = 1, server = [], cuttable = false }: ClusterShape = {},
  ): Promise<RedisCluster> {
    // A replica may take over even with old data. For replicated data, see expectReplicated().
    const options = Object.entries({
      "cluster-enabled": "yes",
      "cluster-node-timeout": NODE_TIMEOUT_MS,
      "cluster-replica-validity-factor": 0,
      "repl-diskless-sync": "no",
    }).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const starts = await Promise.allSettled(
      Array.from({ length: masters * (1 + replicas) }, () =>
        startNode(program, [...options, ...server], cuttable),
      ),
    );
    const nodes = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
    const cluster = new RedisCluster(nodes);
    try {
      const failed = starts.find((start) => start.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      await cluster.#join(masters);
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** Start nodes for `new Cluster(...)`. */
  get startup(): Address[] {
    return this.nodes.map(({ port }) => ({ host: "127.0.0.1", port }));
  }

  get alive(): readonly ClusterNode[] {
    return this.nodes.filter((node) => node.alive);
  }

  /** A client for an app. It is closed with the cluster. */
  client(options: ClientOptions = {}): Cluster {
    const client = new Cluster(this.startup, options);
    client.on("error", () => {});
    this.#clients.push(client);
    return client;
  }

  async slotOf(key: string): Promise<number> {
    return this.#anyAlive().admin.cluster("KEYSLOT", key);
  }

  /** The node that owns the slot of the key. If the owner does not answer, the other nodes are asked. */
  async masterOf(key: string): Promise<ClusterNode> {
    const slot = await this.slotOf(key);
    const lines = (await Promise.all(this.alive.map((node) => node.view()))).flat();
    const owners = lines.filter((line) => line.slots.some(([from, to]) => from <= slot && slot <= to));
    const own = owners.filter((line) => line.flags.includes("myself"));
    const newest = (own.length > 0 ? own : owners).toSorted((a, b) => b.epoch - a.epoch)[0];
    if (newest === undefined) throw new Error(`no node has the slot ${slot}`);
    return this.#node(newest.id);
  }

  /** A replica of the node. Prefers an answering replica. */
  async replicaOf(node: ClusterNode): Promise<ClusterNode> {
    const lines = (await Promise.all(this.alive.map((each) => each.view()))).flat();
    const replicas = lines.filter((line) => line.master === node.id).map((line) => this.#node(line.id));
    const replica = replicas.find((each) => each.alive) ?? replicas[0];
    if (replica === undefined) throw new Error(`the node on port ${node.port} has no replica`);
    return replica;
  }

  async masters(): Promise<readonly ClusterNode[]> {
    const are = await Promise.all(this.nodes.map((node) => node.isMaster()));
    return this.nodes.filter((_, index) => are[index]);
  }

  /** Starts the migration of the key's slot to another node. The keys are not moved yet. */
  async beginMigration(key: string, to: ClusterNode): Promise<SlotMigration> {
    const slot = await this.slotOf(key);
    const from = await this.masterOf(key);
    await to.admin.cluster("SETSLOT", slot, "IMPORTING", from.id);
    await from.admin.cluster("SETSLOT", slot, "MIGRATING", to.id);
    const moveKeys = async (most = Infinity): Promise<void> => {
      for (let left = most; left > 0;) {
        const keys = await from.admin.cluster("GETKEYSINSLOT", slot, Math.min(100, left));
        if (keys.length === 0) return;
        left -= keys.length;
        await from.admin.call("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS", ...keys);
      }
    };
    const migration: SlotMigration = {
      slot,
      moveKeys,
      finish: async () => {
        this.#migrations.delete(migration);
        await moveKeys();
        // This order ensures that the slot always has an owner.
        await to.admin.cluster("SETSLOT", slot, "NODE", to.id);
        await from.admin.cluster("SETSLOT", slot, "NODE", to.id);
        await eventually(async () => {
          for (const node of this.alive) {
            const owner = (await node.view()).find((line) =>
              line.slots.some(([first, last]) => first <= slot && slot <= last),
            );
            expect(owner?.id, `the owner of ${slot} to the node on port ${node.port}`).to.equal(to.id);
          }
        }, 10_000);
      },
    };
    this.#migrations.add(migration);
    return migration;
  }

  /**
   * Migrates the key's slot to another node under load. The slot stays in migration for this time after its keys
   * moved.
   */
  async migrateSlot(key: string, to: ClusterNode, holdMs: number): Promise<void> {
    const migration = await this.beginMigration(key, to);
    await migration.moveKeys();
    await new Promise((resolve) => setTimeout(resolve, holdMs));
    await migration.finish();
  }

  /** Promotes a replica by a manual failover, and waits until all nodes know. */
  async failover(replica: ClusterNode): Promise<void> {
    await replica.admin.cluster("FAILOVER");
    await eventually(async () => {
      expect(await replica.isMaster(), `the node on port ${replica.port} is a master`).to.equal(true);
    }, 10_000);
    await this.untilWhole();
  }

  /** Cuts the bus links between nodes in both directions. Refuses new links until `healBus()`. */
  cutBus(node: ClusterNode, others: readonly ClusterNode[]): void {
    const cut = ({ bus }: ClusterNode, senders: readonly string[]): void => {
      if (bus === null) throw new Error("the cluster was not started as `cuttable`");
      bus.cutFrom((opening) => senders.includes(senderOf(opening)));
    };
    cut(
      node,
      others.map(({ id }) => id),
    );
    for (const other of others) cut(other, [node.id]);
  }

  healBus(): void {
    for (const { bus } of this.nodes) bus?.cutFrom(null);
  }

  /** Resolves when all answering nodes report a healthy cluster with the same roles. */
  async untilWhole(timeoutMs = 20_000): Promise<void> {
    await eventually(async () => {
      const pictures = await Promise.all(
        this.alive.map(async (node) => {
          const info = await node.admin.cluster("INFO");
          expect(info, `the node on port ${node.port}`).to.include("cluster_state:ok");
          const replication = await node.admin.info("replication");
          const masterPort = /master_port:(\d+)/.exec(replication)?.[1];
          if (masterPort !== undefined) {
            expect(replication, `the replica on port ${node.port}`).to.include("master_link_status:up");
            const master = this.nodes.find(({ port }) => port === Number(masterPort));
            if (master?.alive) await expectReplicated(master.server, node.port);
          }
          const view = await node.view();
          const unlinked = view.find(({ id, linked }) => !linked && this.#node(id).alive);
          expect(unlinked?.id, `no bus link from the node on port ${node.port}`).to.equal(undefined);
          return pictureOf(view, (id) => this.#node(id).alive);
        }),
      );
      expect(new Set(pictures).size, "different views of the cluster").to.equal(1);
    }, timeoutMs);
  }

  /**
   * Repairs all faults: resumes frozen nodes, restarts killed nodes, restores links, ends migrations. Then waits for
   * a healthy cluster.
   */
  async heal(): Promise<void> {
    this.healBus();
    for (const node of this.nodes) {
      if (!node.server.running) await node.restart();
      else if (!node.alive) node.thaw();
    }
    await this.untilWhole();
    for (const migration of this.#migrations) await migration.finish();
  }

  /** Closes all clients created so far. */
  disconnectClients(): void {
    for (const client of this.#clients.splice(0)) client.disconnect();
  }

  async stop(): Promise<void> {
    this.disconnectClients();
    await Promise.all(
      this.nodes.map(async ({ server, bus }) => {
        await server.stop();
        await bus?.close();
      }),
    );
  }

  #anyAlive(): ClusterNode {
    const [node] = this.alive;
    if (node === undefined) throw new Error("no node of the cluster answers");
    return node;
  }

  #node(id: string): ClusterNode {
    const node = this.nodes.find((each) => each.id === id);
    if (node === undefined) throw new Error(`a node that is not of this cluster: ${id}`);
    return node;
  }

  async #join(masters: number): Promise<void> {
    const { nodes } = this;
    // Different epochs from the start, because nodes with equal epochs need more time to agree.
    await Promise.all(nodes.map((node, index) => node.admin.cluster("SET-CONFIG-EPOCH", index + 1)));
    await Promise.all(
      nodes.slice(0, masters).map((node, index) => {
        const first = Math.floor((index * SLOTS) / masters);
        const end = Math.floor(((index + 1) * SLOTS) / masters);
        const slots = Array.from({ length: end - first }, (_, offset) => first + offset);
        return node.admin.cluster("ADDSLOTS", ...slots);
      }),
    );
    await Promise.all(
      nodes.flatMap((node, index) =>
        nodes
          .slice(index + 1)
          .map((other) => node.admin.cluster("MEET", "127.0.0.1", other.port, other.busPort)),
      ),
    );
    await eventually(async () => {
      for (const node of nodes) {
        const known = (await node.view()).filter(({ flags }) => !flags.includes("handshake"));
        const ids = known.map(({ id }) => id).toSorted();
        expect(ids, "known nodes").to.deep.equal(nodes.map(({ id }) => id).toSorted());
      }
    }, 15_000);
    await Promise.all(
      nodes.slice(masters).map((node, index) => node.admin.cluster("REPLICATE", nodes[index % masters]!.id)),
    );
    await this.untilWhole();
  }
}

async function startNode(
  program: string,
  options: readonly string[],
  cuttable: boolean,
): Promise<ClusterNode> {
  const bus = cuttable ? await TcpProxy.start(0) : null;
  const announced = bus === null ? [] : ["--cluster-announce-bus-port", String(bus.port)];
  let server: RedisServer | null = null;
  try {
    server = await RedisServer.start(program, [...options, ...announced], freeClusterPort);
    if (bus !== null) bus.upstreamPort = server.port + BUS_OFFSET;
    return new ClusterNode(await server.admin.cluster("MYID"), server, bus);
  } catch (error) {
    await server?.stop();
    await bus?.close();
    throw error;
  }
}

/** The sender of a bus link. Each packet has the id of its sender in its header. */
function senderOf(opening: Buffer): string {
  return opening.toString("latin1", 40, 80);
}

/** A free port whose cluster bus port is also free. */
async function freeClusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (port + BUS_OFFSET < 65_536 && (await isFree(port + BUS_OFFSET))) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}

function parseNodes(text: string): readonly NodeLine[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [id = "", , flags = "", master = "", , , epoch = "", link = "", ...ranges] = line.split(" ");
      return {
        id,
        flags: flags.split(","),
        master,
        epoch: Number(epoch),
        linked: link === "connected",
        slots: ranges
          .filter((range) => !range.startsWith("[")) // a slot in migration
          .map((range) => {
            const [first = "", last = first] = range.split("-");
            return [Number(first), Number(last)] as const;
          }),
      };
    });
}

/** The owners of the slots and the roles of the nodes, as a text that is equal for equal views. */
function pictureOf(lines: readonly NodeLine[], counts: (id: string) => boolean): string {
  const picture = lines
    .filter(({ id }) => counts(id))
    .map(({ id, flags, master, slots }) => {
      const away = flags.some((flag) => flag.startsWith("fail")) ? "away" : "there";
      return `${id} ${master} ${away} ${slots.map((range) => range.join("-")).join(" ")}`;
    });
  return picture.toSorted().join("\n");
}
