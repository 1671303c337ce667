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
  /** For each master. */
  readonly replicas?: number;
  /** More arguments of each `redis-server`. */
  readonly server?: readonly string[];
  /** Whether the links of the cluster bus go over proxies, for `cutBus()`. */
  readonly cuttable?: boolean;
}

/** What an app may hand to `new Cluster(...)`. */
export type ClientOptions = NonNullable<ConstructorParameters<typeof Cluster>[1]>;

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** One line of `CLUSTER NODES`. */
interface NodeLine {
  readonly id: string;
  readonly flags: readonly string[];
  /** The id of its master; "-" for a master. */
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
  /** What the others reach its bus over; `null` if they reach it directly. */
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

  /** A connection of the test's own, new after `restart()`. */
  get admin(): Redis {
    return this.server.admin;
  }

  /** Whether it is there and answers. */
  get alive(): boolean {
    return this.server.running && !this.#frozen;
  }

  /** What the node itself says; a node that does not answer is none. */
  async isMaster(): Promise<boolean> {
    if (!this.alive) return false;
    const [role] = (await this.admin.role()) as [string];
    return role === "master";
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<void> {
    this.#frozen = false;
    await this.server.kill();
  }

  /** It keeps its connections and says nothing any more, as a host that hangs. */
  freeze(): void {
    this.server.signal("SIGSTOP");
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    this.server.signal("SIGCONT");
  }

  /** Starts the process again after `kill()`: it knows its cluster, and has lost its data. */
  async restart(): Promise<void> {
    await this.server.boot();
  }

  /** The cluster as this node sees it. */
  async view(): Promise<readonly NodeLine[]> {
    return parseNodes(String(await this.admin.cluster("NODES")));
  }

  /** The names of all connections of clients but the suite's own. */
  async connectionNames(): Promise<readonly string[]> {
    return (await this.server.connectionNames()).filter((name) => !name.startsWith("test:"));
  }
}

/** A slot on its way to another node. Both know of it, and each key is on one of them. */
export interface SlotMigration {
  readonly slot: number;
  /** Moves what the slot holds now, or so many of its keys: a call that needs the others too is told to try again. */
  moveKeys(most?: number): Promise<void>;
  /** Moves the rest, and gives the slot to its new node, as all nodes then know. */
  finish(): Promise<void>;
}

/** Real servers that form a cluster of the suite's own. */
export class RedisCluster {
  readonly nodes: readonly ClusterNode[];
  readonly #clients: Cluster[] = [];
  readonly #migrations = new Set<SlotMigration>();

  private constructor(nodes: readonly ClusterNode[]) {
    this.nodes = nodes;
  }

  /** `program` is what `need("redis", context)` found. */
  static async start(
    program: string,
    { masters = 3, replicas = 1, server = [], cuttable = false }: ClusterShape = {},
  ): Promise<RedisCluster> {
    // A replica may take over however old its data is. How it gets them: see expectReplicated().
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

  /** What `new Cluster(...)` begins with. */
  get startup(): Address[] {
    return this.nodes.map(({ port }) => ({ host: "127.0.0.1", port }));
  }

  get alive(): readonly ClusterNode[] {
    return this.nodes.filter((node) => node.alive);
  }

  /** An app's client, which ends with the cluster. */
  client(options: ClientOptions = {}): Cluster {
    const client = new Cluster(this.startup, options);
    client.on("error", () => {});
    this.#clients.push(client);
    return client;
  }

  async slotOf(key: string): Promise<number> {
    return this.#anyAlive().admin.cluster("KEYSLOT", key);
  }

  /** The node that has the key's slot: by its own account, or, when it is away, by that of the others. */
  async masterOf(key: string): Promise<ClusterNode> {
    const slot = await this.slotOf(key);
    const lines = (await Promise.all(this.alive.map((node) => node.view()))).flat();
    const owners = lines.filter((line) => line.slots.some(([from, to]) => from <= slot && slot <= to));
    const own = owners.filter((line) => line.flags.includes("myself"));
    const newest = (own.length > 0 ? own : owners).toSorted((a, b) => b.epoch - a.epoch)[0];
    if (newest === undefined) throw new Error(`no node has the slot ${slot}`);
    return this.#node(newest.id);
  }

  /** A replica of the node, one that answers if there is any. */
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

  /** Puts the key's slot half-way between its node and another: without its keys, until they are moved. */
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
        // In this order: the slot never has no owner.
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

  /** Moves the key's slot to another node, while everything goes on. So long it stays half-way, with its keys moved. */
  async migrateSlot(key: string, to: ClusterNode, holdMs: number): Promise<void> {
    const migration = await this.beginMigration(key, to);
    await migration.moveKeys();
    await new Promise((resolve) => setTimeout(resolve, holdMs));
    await migration.finish();
  }

  /** Makes a replica the master in an orderly way, and waits until all nodes know. */
  async failover(replica: ClusterNode): Promise<void> {
    await replica.admin.cluster("FAILOVER");
    await eventually(async () => {
      expect(await replica.isMaster(), `the node on port ${replica.port} is a master`).to.equal(true);
    }, 10_000);
    await this.untilWhole();
  }

  /** Cuts the bus links between a node and others, in both directions, and refuses new ones until `healBus()`. */
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

  /** Resolves when every node that answers finds the cluster whole, and has the same picture of who is what. */
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

  /** Brings back what was frozen, killed or cut, ends what was half-way, and waits until the cluster is whole again. */
  async heal(): Promise<void> {
    this.healBus();
    for (const node of this.nodes) {
      if (!node.server.running) await node.restart();
      else if (!node.alive) node.thaw();
    }
    await this.untilWhole();
    for (const migration of this.#migrations) await migration.finish();
  }

  /** Ends the clients that were made so far. */
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
    // Different from the start: nodes with equal epochs would take their time to agree.
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

/** Who began a bus link: each packet has the id of its sender in its header. */
function senderOf(opening: Buffer): string {
  return opening.toString("latin1", 40, 80);
}

/** A port that is free, and with it that of the cluster bus. */
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
          .filter((range) => !range.startsWith("[")) // one that is on its way
          .map((range) => {
            const [first = "", last = first] = range.split("-");
            return [Number(first), Number(last)] as const;
          }),
      };
    });
}

/** Who has which slots and who follows whom, in one text for all nodes that see the same. */
function pictureOf(lines: readonly NodeLine[], counts: (id: string) => boolean): string {
  const picture = lines
    .filter(({ id }) => counts(id))
    .map(({ id, flags, master, slots }) => {
      const away = flags.some((flag) => flag.startsWith("fail")) ? "away" : "there";
      return `${id} ${master} ${away} ${slots.map((range) => range.join("-")).join(" ")}`;
    });
  return picture.toSorted().join("\n");
}
