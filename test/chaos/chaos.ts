import { Chance } from "../soak/chance.js";
import { until, within } from "../soak/patience.js";
import { Tally } from "../soak/tally.js";
import {
  ALL_CHANNELS,
  CHANNELS,
  isLive,
  isTiny,
  keepsEverything,
  LIVE_CHANNELS,
  serviceOptions,
  TINY_CHANNELS,
} from "./channels.js";
import { Client } from "./client.js";
import { planFaults } from "./fault-plan.js";
import { runFaults, type FaultRecord } from "./fault-runner.js";
import { Findings } from "./findings.js";
import { describeTrail, isComplete, judge, type Evidence, type Marker } from "./judge.js";
import { Ledger } from "./ledger.js";
import { checkLog, readPlaces, type LogPlaces } from "./log-check.js";
import { Losses } from "./losses.js";
import { machineNow } from "./machine-clock.js";
import type { ChaosOptions } from "./options.js";
import { codeOf, encodePayload } from "./payload.js";
import { createService } from "./redis-address.js";
import type { ChaosReport } from "./report.js";
import { GAP } from "./trail.js";
import { startWorld, type World } from "./world.js";

/** The streams of chance that belong to clients begin here. */
const FIRST_CLIENT = 1_000;
/** The one that publishes the markers. */
const MARKER_PUBLISHER = 0;
/** A stream that was told nothing of a dead link finds it after some seconds; a machine may be busy. */
const CATCH_UP_MS = 60_000;
/** Of a publication that waits for a Redis which is away, the answer is there after a few seconds. */
const QUIET_MS = 60_000;

/** Around a fault in which a server may lose its newest events: a replica is a moment behind, and clocks are read late. */
const LOSS_MARGIN_MS = 1_000;

/** One run: clients come back again and again while faults are done; then each has to have had everything. */
export async function runChaos(program: string, options: ChaosOptions): Promise<ChaosReport> {
  const findings = new Findings();
  const ledger = new Ledger();
  const world = await startWorld(program, options, {
    onSettled: (settled) => ledger.settle(settled),
    onTrouble: (trouble) => findings.add("no process is in trouble", trouble),
  });
  try {
    return await new Chaos(options, world, ledger, findings).run();
  } finally {
    await world.stop();
  }
}

class Chaos {
  readonly #options: ChaosOptions;
  readonly #world: World;
  readonly #ledger: Ledger;
  readonly #findings: Findings;
  readonly #tally = new Tally();
  readonly #faults = new Tally();
  readonly #records: FaultRecord[] = [];
  /** Of a run in which somebody does not catch up. */
  readonly #appStatus: string[] = [];
  #lost = 0;
  readonly #startedAt = machineNow();
  readonly #clients: readonly Client[];

  constructor(options: ChaosOptions, world: World, ledger: Ledger, findings: Findings) {
    this.#options = options;
    this.#world = world;
    this.#ledger = ledger;
    this.#findings = findings;
    const context = {
      ports: world.apps.map(({ clients }) => clients.port),
      tally: this.#tally,
      startedAt: this.#startedAt,
      mayLose: world.redises.mayLose,
      onViolation: (rule: string, what: string) => findings.add(rule, what),
    };
    this.#clients = Array.from({ length: options.clients }, (_, index) => {
      const chance = new Chance(options.seed, FIRST_CLIENT + index);
      return new Client(`client ${index}`, chooseChannels(chance), chance, context);
    });
  }

  async run(): Promise<ChaosReport> {
    const { topology, seconds, seed } = this.#options;
    try {
      for (const client of this.#clients) client.start();
      const faults = planFaults(seed, seconds, topology);
      await runFaults(this.#world, faults, this.#startedAt, this.#records, this.#faults);
      await within(QUIET_MS, this.#world.beQuiet());
      for (const client of this.#clients) client.settle();
      // A client that began behind the markers would not have to receive them.
      await this.#allLive();
      const markers = await this.#publishMarkers();
      await this.#catchUp(markers);
      await this.#judge(markers);
    } catch (error) {
      this.#findings.add("the run comes to its end", (error as Error).message);
    } finally {
      await Promise.all(this.#clients.map((client) => client.stop()));
    }
    return {
      options: this.#options,
      violations: this.#findings.all,
      tally: this.#tally,
      faults: this.#faults,
      faultRecords: this.#records.toSorted((one, other) => one.begunMs - other.begunMs),
      acknowledged: this.#ledger.acknowledged,
      uncertain: this.#ledger.uncertain,
      lost: this.#lost,
      appStatus: this.#appStatus,
      tookMs: machineNow() - this.#startedAt,
    };
  }

  async #allLive(): Promise<void> {
    const attempt = async (): Promise<void> => {
      const away = this.#clients.filter(({ check }) => !check.live);
      if (away.length > 0) throw new Error(`${away[0]!.name} and ${away.length - 1} more are not`);
    };
    await until("every client is live", attempt, CATCH_UP_MS);
  }

  /**
   * One more event on each channel, behind all others: who has it, has had its chance of everything. Nobody is
   * subscribed at that moment, and nothing comes after it that would show the hole: each stream has to look by itself.
   */
  async #publishMarkers(): Promise<Markers> {
    const { redises } = this.#world;
    const service = createService(serviceOptions(redises.address, "shared"));
    const markers = new Map<string, Marker>();
    const publish = async (channel: string): Promise<void> => {
      const payload = { channel, publisher: MARKER_PUBLISHER, number: 1 };
      const issuedAt = machineNow();
      const { id } = await service.publish(channel, { data: encodePayload(payload, 0) });
      this.#ledger.settle({ ...payload, issuedAt, settledAt: machineNow(), id });
      const { offset } = this.#ledger.numbers(channel, MARKER_PUBLISHER).get(1)!;
      markers.set(channel, { code: codeOf(payload), offset: offset ?? 0, issuedAt });
    };
    try {
      await service.pool.commands.ping();
      await redises.command((admin) => admin.call("CLIENT", "KILL", "TYPE", "pubsub"));
      await Promise.all(ALL_CHANNELS.map(publish));
    } finally {
      await service.close();
    }
    return markers;
  }

  async #catchUp(markers: Markers): Promise<void> {
    const losses = this.#losses();
    const late = (): readonly Client[] =>
      this.#clients.filter(({ check }) => !check.live || missingOf(check, markers, losses).length > 0);
    const attempt = async (): Promise<void> => {
      if (late().length > 0) throw new Error("some are late");
    };
    await until("every client is live and has caught up", attempt, CATCH_UP_MS).catch(async () => {
      for (const app of this.#world.apps) {
        const status = await within(5_000, app.status()).catch((error: Error) => error.message);
        this.#appStatus.push(`${app.name}: ${JSON.stringify(status)}`);
      }
      for (const client of late()) {
        const state = client.check.live ? "live" : "not live";
        const missing = missingOf(client.check, markers, losses).join(",") || "none";
        this.#findings.add(
          "every client ends up live and caught up",
          `${client.name} is ${state}, without the marker of ${missing}\n${client.describeConnections()}`,
        );
      }
    });
  }

  async #judge(markers: Markers): Promise<void> {
    const ledger = this.#ledger;
    const losses = this.#losses();
    for (const channel of ALL_CHANNELS) {
      const { places, stamps }: LogPlaces = isLive(channel)
        ? { places: new Map(), stamps: new Map() }
        : await readPlaces(this.#world.redises.store, channel);
      // Of a log that is cut, only what is still in it can be compared.
      const isLost = (code: number, offset: number): boolean => {
        if (!losses.possible || isLive(channel)) return false;
        const known = places.get(offset);
        return known === undefined ? keepsEverything(channel) : known !== code;
      };
      // Of a log that is cut nobody knows which of its events were lost.
      const isUnknown = losses.possible && isTiny(channel);
      for (const what of isUnknown ? [] : ledger.contradictions(channel, isLost)) {
        this.#findings.add("acknowledgements agree", what);
      }
      if (isTiny(channel) && !losses.possible) {
        for (const [offset, { code }] of ledger.places(channel)) places.set(offset, code);
      } else if (keepsEverything(channel)) {
        this.#lost += checkLog(channel, places, ledger, this.#findings, losses);
      }
      const lostPlaces = this.#lostPlaces(channel, isLost, places, losses);
      const evidence: Evidence = {
        channel,
        ledger,
        places,
        stamps,
        marker: markers.get(channel)!,
        losses,
        lostPlaces,
      };
      for (const client of this.#clients) this.#judgeClient(client, channel, evidence);
    }
  }

  #losses(): Losses {
    const { mayLose, losing, deaf } = this.#world.redises;
    const windows = losing.map(({ from, to }) => ({ from: from - LOSS_MARGIN_MS, to: to + LOSS_MARGIN_MS }));
    // What was on a link when it was cut is lost too; behind a heal nothing is.
    const unheard = deaf.map(({ from, to }) => ({ from: from - LOSS_MARGIN_MS, to }));
    return new Losses(mayLose, windows, unheard);
  }

  /** See `Evidence`. What was lost is known by its acknowledgement, or because a client has had it. */
  #lostPlaces(
    channel: string,
    isLost: (code: number, offset: number) => boolean,
    places: ReadonlyMap<number, number>,
    losses: Losses,
  ): ReadonlySet<number> | null {
    if (!losses.possible) return new Set();
    if (!keepsEverything(channel)) return null;
    const held = new Set(places.values());
    const mayBeLost = ({
      code,
      issuedAt,
      settledAt,
    }: {
      code: number;
      issuedAt: number;
      settledAt: number;
    }) => !held.has(code) && losses.mayHaveMet(issuedAt, settledAt);
    if (this.#ledger.unsettled(channel).some(mayBeLost)) return null;
    const lost = new Set<number>();
    for (const publisher of this.#ledger.publishers(channel)) {
      for (const [number, { offset }] of this.#ledger.numbers(channel, publisher)) {
        if (offset !== null && isLost(codeOf({ publisher, number }), offset)) lost.add(offset);
      }
    }
    for (const { check } of this.#clients) {
      const { codes = [], offsets = [] } = check.trails.get(channel) ?? {};
      for (const [index, code] of codes.entries()) {
        if (code !== GAP && isLost(code, offsets[index]!)) lost.add(offsets[index]!);
      }
    }
    return lost;
  }

  #judgeClient(client: Client, channel: string, evidence: Evidence): void {
    const trail = client.check.trails.get(channel);
    if (trail === undefined) return;
    for (const { rule, what, index } of judge(trail, evidence)) {
      const connection = trail.connections[Math.min(index, trail.length - 1)] ?? 0;
      const context = `${describeTrail(trail, index)}\n${client.describeConnections(connection)}`;
      this.#findings.add(rule, `${client.name} on ${channel}: ${what}\n${context}`);
    }
  }
}

type Markers = ReadonlyMap<string, Marker>;

function missingOf(
  { channels, trails }: Client["check"],
  markers: Markers,
  losses: Losses,
): readonly string[] {
  return channels.filter((channel) => {
    const trail = trails.get(channel);
    return trail === undefined || !isComplete(channel, trail, markers.get(channel)!, losses);
  });
}

/** One to five channels; of those that keep little, only with some clients: they are loud. */
function chooseChannels(chance: Chance): readonly string[] {
  const channels = new Set(chance.is(0.25) ? [chance.oneOf(TINY_CHANNELS)] : []);
  if (channels.size > 0 && chance.is(0.3)) for (const channel of TINY_CHANNELS) channels.add(channel);
  const count = Math.max(channels.size, chance.whole(1, 5));
  while (channels.size < count) channels.add(chance.oneOf(CHANNELS));
  // Beside others: only with these has a client a place to come back to.
  if (chance.is(0.3)) channels.add(chance.oneOf(LIVE_CHANNELS));
  return [...channels];
}
