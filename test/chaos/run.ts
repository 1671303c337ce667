import { Chance } from "./chance.js";
import { channelsOf, chooseChannels, createService, serviceOptions } from "./channels.js";
import { Client, type ClientContext } from "./client.js";
import { DeliveryJudge } from "./delivery-judge.js";
import { planRound } from "./fault-plan.js";
import { runFaults, type FaultRecord } from "./faults.js";
import { Findings } from "./findings.js";
import type { Markers } from "./judge.js";
import { Ledger } from "./ledger.js";
import type { RunOptions } from "./options.js";
import { fail, machineNow, until, within } from "./patience.js";
import { codeOf } from "./payload.js";
import { Publisher } from "./publishers.js";
import type { Report } from "./report.js";
import { ResourceJudge } from "./resource-judge.js";
import { Tally } from "./tally.js";
import { startWorld, type World } from "./world.js";

/** First random stream of the clients. */
const FIRST_CLIENT = 1_000;
/** Id of the publisher of the markers. */
const MARKER_PUBLISHER = 0;
/** A stream needs some seconds to detect a dead connection, and longer on a busy machine. */
const CATCH_UP_MS = 60_000;
/** A publication that waits for an unavailable Redis settles after a few seconds. */
const QUIET_MS = 60_000;
const LEAVE_MS = 20_000;

/** One run. Clients reconnect again and again during faults. Two judges check the received events and the leaks. */
export async function run(
  program: string,
  options: RunOptions,
  tell?: (text: string) => void,
): Promise<Report> {
  const findings = new Findings(tell);
  const ledger = new Ledger();
  const world = await startWorld(program, options, {
    onSettled: (settled) => ledger.settle(settled),
    onTrouble: (trouble) => findings.add("no process is in trouble", trouble),
  });
  try {
    return await new Run(options, world, ledger, findings).run();
  } finally {
    await world.stop();
  }
}

class Run {
  readonly #options: RunOptions;
  readonly #world: World;
  readonly #ledger: Ledger;
  readonly #findings: Findings;
  readonly #delivery: DeliveryJudge;
  readonly #resources: ResourceJudge;
  readonly #context: ClientContext;
  readonly #clients: readonly Client[];
  readonly #service;
  readonly #markerPublisher: Publisher;
  readonly #tally = new Tally();
  readonly #faults = new Tally();
  readonly #records: FaultRecord[] = [];
  /** State of the apps, for a run in which a client does not catch up. */
  readonly #appStatus: string[] = [];
  readonly #startedAt = machineNow();
  #round = 0;
  /** For the report of a run that hangs. */
  #doing = "begin";

  constructor(options: RunOptions, world: World, ledger: Ledger, findings: Findings) {
    this.#options = options;
    this.#world = world;
    this.#ledger = ledger;
    this.#findings = findings;
    this.#delivery = new DeliveryJudge(world, ledger, findings);
    this.#resources = new ResourceJudge(world, options, findings, this.#tally);
    const { address } = world.redises;
    this.#service = createService(serviceOptions(address, "shared", options));
    const send = async (channel: string, data: string): Promise<string | null> =>
      (await this.#service.publish(channel, { data })).id;
    this.#markerPublisher = new Publisher(MARKER_PUBLISHER, send, (settled) => ledger.settle(settled));
    this.#context = {
      apps: world.apps,
      tally: this.#tally,
      startedAt: this.#startedAt,
      mayLose: world.redises.mayLose,
      isSteady: this.#isSoak,
      onViolation: (rule, what) => findings.add(rule, what),
    };
    this.#clients = Array.from({ length: options.clients }, (_, index) => {
      const chance = new Chance(options.seed, FIRST_CLIENT + index);
      return new Client(
        `client ${index}`,
        chooseChannels(chance, channelsOf(options)),
        chance,
        this.#context,
      );
    });
  }

  get #isSoak(): boolean {
    return this.#options.harness === "soak";
  }

  async run(): Promise<Report> {
    // Later than the sum of all timeouts, so that a run with many timeouts still ends with a report.
    const deadlineMs = this.#options.seconds * 5_000 + 400_000;
    const phases = this.#isSoak ? this.#soak() : this.#chaos();
    await this.#findings.check("the run comes to its end", () =>
      within(deadlineMs, phases).catch((error: Error) => fail(`${this.#doing}: ${error.message}`)),
    );
    await this.#leave();
    await this.#service.close();
    return {
      options: this.#options,
      violations: this.#findings.all,
      tally: this.#tally,
      faults: this.#faults,
      faultRecords: this.#records.toSorted((one, other) => one.begunMs - other.begunMs),
      ledger: this.#ledger,
      lost: this.#delivery.lost,
      resources: this.#resources,
      appStatus: this.#appStatus,
      tookMs: machineNow() - this.#startedAt,
    };
  }

  /** Faults in several apps. Then all clients reconnect and must have all events. */
  async #chaos(): Promise<void> {
    for (const client of this.#clients) client.start();
    await this.#faultsFor(this.#options.seconds * 1_000);
    await this.#beQuiet();
    for (const client of this.#clients) client.settle();
    // A client that starts after the markers need not receive them.
    await this.#allLive(this.#clients);
    // No stream is subscribed at that moment, and no later event shows the hole. Each stream must detect it by
    // itself.
    const kill = (): Promise<unknown> =>
      this.#world.redises.command((admin) => admin.call("CLIENT", "KILL", "TYPE", "pubsub"));
    const markers = await this.#publishMarkers(this.#world.channels, kill);
    await this.#catchUp(markers, () => this.#clients);
    await this.#delivery.judge(this.#clients, markers);
    await this.#leave();
    await this.#resources.atRest();
    await this.#resources.end();
  }

  /**
   * Rounds of faults in one app, with checks of its streams between them. At the end, all resources must be at the
   * baseline.
   */
  async #soak(): Promise<void> {
    const ms = this.#options.seconds * 1_000;
    await this.#probe();
    await this.#resources.begin();
    for (const lengthMs of [ms / 10, ms - ms / 10]) {
      for (const client of this.#clients) client.start();
      const endAt = Date.now() + lengthMs;
      while (Date.now() < endAt) {
        await this.#faultsFor(Math.max(500, endAt - Date.now()));
        for (const client of this.#clients) client.keepAway();
        await this.#allHear();
        await this.#probe();
        await this.#resources.underLoad();
        for (const client of this.#clients) client.letIn();
      }
      await this.#leave();
      this.#doing = "come to rest";
      await this.#resources.atRest();
    }
    await this.#beQuiet();
    await this.#delivery.judge(this.#clients, null);
    await this.#resources.end();
  }

  async #faultsFor(mostMs: number): Promise<void> {
    this.#doing = "faults";
    const target = { ...this.#world, clients: this.#clients };
    await runFaults(target, planRound(this.#options, this.#round++, mostMs), {
      startedAt: this.#startedAt,
      records: this.#records,
      tally: this.#faults,
      findings: this.#findings,
    });
  }

  async #beQuiet(): Promise<void> {
    this.#doing = "be quiet";
    await within(QUIET_MS, Promise.all(this.#world.slots.map((slot) => slot.ask("quiet"))));
  }

  /** Checks that every open stream receives new events, unless it ends or stalls. */
  async #allHear(): Promise<void> {
    // A stream that receives nothing must not leave before the check.
    for (const client of this.#clients) client.settle();
    const visits = this.#clients.map((client) => [client, client.listening] as const);
    const markers = await this.#publishMarkers(this.#world.channels);
    const listening = (): readonly Client[] =>
      visits
        .filter(([client, visit]) => visit !== null && client.listening === visit)
        .map(([client]) => client);
    await this.#catchUp(markers, listening);
    for (const client of this.#clients) client.unsettle();
  }

  /** Checks that a new stream connects and receives new events. */
  async #probe(): Promise<void> {
    const channels = [this.#world.channels[0]!];
    const chance = new Chance(this.#options.seed, FIRST_CLIENT - 1);
    const probe = new Client("the probe", channels, chance, { ...this.#context, isSteady: false });
    probe.settle();
    probe.start();
    await this.#findings.check("a new stream is served", async () => {
      await this.#allLive([probe]);
      await this.#catchUp(await this.#publishMarkers(channels), () => [probe]);
    });
    await probe.stop();
  }

  async #allLive(clients: readonly Client[]): Promise<void> {
    this.#doing = "all come back";
    const attempt = async (): Promise<void> => {
      const away = clients.filter(({ check }) => !check.live);
      if (away.length > 0) fail(`${away[0]!.name} and ${away.length - 1} more are not`);
    };
    await until("every client is live", attempt, CATCH_UP_MS);
  }

  /**
   * Publishes one more event on each channel after all settled events. A client that has it could have received all
   * events.
   */
  async #publishMarkers(channels: readonly string[], before?: () => Promise<unknown>): Promise<Markers> {
    this.#doing = "publish markers";
    const markers: Markers = new Map();
    await this.#service.pool.commands.ping();
    await before?.();
    const publish = async (channel: string): Promise<void> => {
      const settled = await this.#markerPublisher.publish(channel, 0);
      const known = this.#ledger.numbers(channel, MARKER_PUBLISHER).get(settled.number);
      if (known === undefined) fail("Redis does not take an event");
      const { offset, issuedAt } = known;
      markers.set(channel, { code: codeOf(settled), offset: offset ?? 0, issuedAt });
    };
    await Promise.all(channels.map((channel) => until("Redis takes an event", () => publish(channel))));
    return markers;
  }

  async #catchUp(markers: Markers, clients: () => readonly Client[]): Promise<void> {
    this.#doing = "catch up";
    const missing = (client: Client): readonly string[] => this.#delivery.missingOf(client, markers);
    const late = (): readonly Client[] =>
      clients().filter((client) => !client.check.live || missing(client).length > 0);
    const attempt = async (): Promise<void> => {
      if (late().length > 0) fail("some are late");
    };
    await until("every client is live and has caught up", attempt, CATCH_UP_MS).catch(async () => {
      for (const app of this.#world.apps) {
        const status = await within(5_000, app.ask("status")).catch((error: Error) => error.message);
        this.#appStatus.push(`${app.name}: ${JSON.stringify(status)}\n${app.output}`);
      }
      for (const client of late()) {
        const state = client.check.live ? "live" : "not live";
        this.#findings.add(
          "every client ends up live and caught up",
          `${client.name} is ${state}, without the marker of ${missing(client).join(",") || "none"}\n${client.describeConnections()}`,
        );
      }
    });
  }

  /** All clients leave, as planned. */
  async #leave(): Promise<void> {
    this.#doing = "leave";
    await this.#findings.check("all clients can leave", () =>
      within(LEAVE_MS, Promise.all(this.#clients.map((client) => client.stop()))),
    );
  }
}
