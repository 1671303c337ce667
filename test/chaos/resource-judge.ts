import { isDeepStrictEqual } from "node:util";

import type { StatusReport } from "../../lib/index.js";
import { maxLeases } from "./channels.js";
import { APP_USER } from "./faults.js";
import type { Findings } from "./findings.js";
import type { RunOptions } from "./options.js";
import { fail, until, within } from "./patience.js";
import { Tally } from "./tally.js";
import type { World } from "./world.js";

/** Time limit for leftovers of a fault. ioredis keeps a timer of 5 s for a refused connection. */
const TRACES_MS = 30_000;
const CLOSE_MS = 20_000;

/**
 * Allowed growth of the heap between the end of the first tenth and the end of the run, both at rest. It allows for
 * compiled code and the like, but not for leaks per stream or per fault.
 */
export const MAX_HEAP_GROWTH_BYTES: number = 6 * 1024 * 1024;

/** Resources of an app without clients. */
interface Baseline {
  readonly connections: readonly string[];
  readonly resources: Readonly<Record<string, number>>;
}

/**
 * Compares the resources of the apps with the baseline: connections, subscriptions, leases, timers, listeners and
 * memory.
 */
export class ResourceJudge {
  /** Close reasons of the sessions, as counted by the services. */
  readonly closed: Tally = new Tally();
  mostRedisSockets = 0;
  heapGrowthBytes = 0;
  readonly #world: World;
  readonly #options: RunOptions;
  readonly #findings: Findings;
  readonly #tally: Tally;
  #baseline: Baseline | null = null;
  #heapBytes: number | null = null;

  /** `tally` has the counts of the clients. */
  constructor(world: World, options: RunOptions, findings: Findings, tally: Tally) {
    this.#world = world;
    this.#options = options;
    this.#findings = findings;
    this.#tally = tally;
  }

  /** Records the baseline at rest. For an app that lives through the run. */
  async begin(): Promise<void> {
    this.#baseline = await until("the app comes to rest", async () => {
      await this.#expectNothingHeld();
      const baseline = await this.#look();
      if (!isDeepStrictEqual(baseline, await this.#look())) fail("it is not at rest");
      return baseline;
    });
  }

  /** Checks that after all clients have left, the apps hold nothing of them and are back at the baseline. */
  async atRest(): Promise<void> {
    await this.#findings.check("everything returns to the baseline", () =>
      until("everything is as before", () => this.#expectBaseline(), TRACES_MS),
    );
    if (this.#baseline === null) return;
    await this.#findings.check("the heap does not grow", () =>
      // Pages read from a history stay in memory for some seconds.
      until("the heap is as before", () => this.#expectHeap(), TRACES_MS),
    );
  }

  /** Checks that an app never has more connections than its limit and the shared ones. */
  async underLoad(): Promise<void> {
    const { mode, clients } = this.#options;
    const most = 2 + (mode === "dedicated" ? maxLeases(clients) : 0);
    const { mostRedisSockets } = await this.#world.apps[0]!.ask("look");
    this.mostRedisSockets = mostRedisSockets;
    if (mostRedisSockets <= most) return;
    this.#findings.add("connections stay within their limit", `${mostRedisSockets} sockets, of ${most}`);
  }

  /** Checks that the counts are consistent and that the apps exit by themselves. */
  async end(): Promise<void> {
    await this.#findings.check("the counts add up", () => this.#expectCounts());
    await Promise.all(this.#world.apps.map((app) => app.end("SIGTERM", CLOSE_MS)));
  }

  async #expectBaseline(): Promise<void> {
    await this.#expectNothingHeld();
    if (this.#baseline === null) return;
    const now = await this.#look();
    if (isDeepStrictEqual(now, this.#baseline)) return;
    fail(`there is ${JSON.stringify(now)} in place of ${JSON.stringify(this.#baseline)}`);
  }

  async #expectNothingHeld(): Promise<void> {
    for (const { sessions, pool, hub, channels } of await this.#statuses()) {
      const held = { open: sessions.open, inUse: pool.inUse, waiting: pool.waiting, hub: hub.channels };
      if (Object.values(held).some((count) => count !== 0)) fail(`an app holds ${JSON.stringify(held)}`);
      if (pool.leases.length > 0) fail(`there are leases: ${JSON.stringify(pool.leases)}`);
      if (channels.length > 0) fail(`there are channels: ${channels.join(" ")}`);
      const ended = Object.values(sessions.closed).reduce((sum, count) => sum + count, 0);
      if (sessions.opened !== ended) fail(`${sessions.opened} sessions were opened, and ${ended} closed`);
    }
    await this.#world.redises.command(async (admin) => {
      // The names of Sentinel's channels start with "__". Each app keeps the subscription that hears of revocations.
      const isOwn = (name: string): boolean => name.startsWith("__") || name === "sse:revocations";
      const active = ((await admin.pubsub("CHANNELS")) as string[]).filter((name) => !isOwn(name));
      if (active.length > 0) fail(`channels are subscribed: ${active.join(" ")}`);
    });
  }

  async #expectHeap(): Promise<void> {
    const heapBytes = await this.#world.apps[0]!.ask("heap");
    this.#heapBytes ??= heapBytes;
    this.heapGrowthBytes = heapBytes - this.#heapBytes;
    if (this.heapGrowthBytes > MAX_HEAP_GROWTH_BYTES) fail(`it has grown by ${this.heapGrowthBytes} bytes`);
  }

  async #expectCounts(): Promise<void> {
    let opened = 0;
    for (const { sessions } of await this.#statuses()) {
      opened += sessions.opened;
      for (const [reason, count] of Object.entries(sessions.closed)) this.closed.add(reason, count);
    }
    // Counts of replaced apps are gone.
    if (this.#baseline === null) return;
    const streams = this.#tally.of("connected events");
    if (streams > opened) fail(`clients saw ${streams} streams, of ${opened}`);
    // A client that reads gets the reason for the end of its stream, unless the service has closed the stream as
    // slow.
    const cut = this.#tally.of("cut while reading");
    const givenUp = this.closed.of("slow-consumer") + this.closed.of("write-error");
    if (cut > givenUp) fail(`${cut} clients were cut while reading, ${givenUp} were given up`);
  }

  #statuses(): Promise<readonly StatusReport[]> {
    return within(CLOSE_MS, Promise.all(this.#world.apps.map((app) => app.ask("status"))));
  }

  async #look(): Promise<Baseline> {
    const [app] = this.#world.apps;
    const list = String(await this.#world.redises.store.call("CLIENT", "LIST"));
    const connections = list
      .split("\n")
      .filter((line) => line.includes(` user=${APP_USER.name} `))
      .map((line) => / name=(redis-sse:\w+)?/.exec(line)?.[1] ?? "");
    return { connections: connections.toSorted(), resources: (await app!.ask("look")).resources };
  }
}
