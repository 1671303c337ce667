import { isLive, isTiny, keepsEverything } from "./channels.js";
import type { Client } from "./client.js";
import type { Findings } from "./findings.js";
import { describeTrail, isComplete, judge, type Evidence, type Markers } from "./judge.js";
import type { Ledger } from "./ledger.js";
import { checkLog, readPlaces, type LogPlaces } from "./log-check.js";
import { Losses } from "./losses.js";
import { codeOf } from "./payload.js";
import { GAP } from "./trail.js";
import type { World } from "./world.js";

/** Time around a fault in which the newest events can be lost: replicas are behind, and clocks are read late. */
const LOSS_MARGIN_MS = 1_000;

type IsLost = (code: number, offset: number) => boolean;

/** Compares the received events of each client with the acknowledged events and with the histories. */
export class DeliveryJudge {
  /** Number of acknowledged events lost in a failover. */
  lost = 0;
  readonly #world: World;
  readonly #ledger: Ledger;
  readonly #findings: Findings;

  constructor(world: World, ledger: Ledger, findings: Findings) {
    this.#world = world;
    this.#ledger = ledger;
    this.#findings = findings;
  }

  /** The channels whose marker a client has not received. */
  missingOf({ check: { channels, trails } }: Client, markers: Markers): readonly string[] {
    const losses = this.#losses();
    return channels.filter((channel) => {
      const trail = trails.get(channel);
      const marker = markers.get(channel);
      return marker !== undefined && (trail === undefined || !isComplete(channel, trail, marker, losses));
    });
  }

  /** Call this after publishing has stopped. Without markers, clients need not have the last events. */
  async judge(clients: readonly Client[], markers: Markers | null): Promise<void> {
    const ledger = this.#ledger;
    const losses = this.#losses();
    for (const channel of this.#world.channels) {
      const { places, stamps }: LogPlaces = isLive(channel)
        ? { places: new Map(), stamps: new Map() }
        : await readPlaces(this.#world.redises.store, channel);
      // Of a trimmed history, only the remaining events can be compared.
      const isLost: IsLost = (code, offset) => {
        if (!losses.possible || isLive(channel)) return false;
        const known = places.get(offset);
        return known === undefined ? keepsEverything(channel) : known !== code;
      };
      // For a trimmed history, it is unknown which events were lost.
      const isUnknown = losses.possible && isTiny(channel);
      for (const what of isUnknown ? [] : ledger.contradictions(channel, isLost)) {
        this.#findings.add("acknowledgements agree", what);
      }
      if (isTiny(channel) && !losses.possible) {
        for (const [offset, { code }] of ledger.places(channel)) places.set(offset, code);
      } else if (keepsEverything(channel)) {
        this.lost += checkLog(channel, places, ledger, this.#findings, losses);
      }
      const lostPlaces = this.#lostPlaces(channel, isLost, places, losses, clients);
      const marker = markers?.get(channel) ?? null;
      const evidence: Evidence = { channel, ledger, places, stamps, marker, losses, lostPlaces };
      for (const client of clients) this.#judgeClient(client, channel, evidence);
    }
  }

  #losses(): Losses {
    const { mayLose, losing, deaf } = this.#world.redises;
    const windows = losing.map(({ from, to }) => ({ from: from - LOSS_MARGIN_MS, to: to + LOSS_MARGIN_MS }));
    // Data in transit is lost when a connection is cut. After the repair, nothing is lost.
    const unheard = deaf.map(({ from, to }) => ({ from: from - LOSS_MARGIN_MS, to }));
    return new Losses(mayLose, windows, unheard);
  }

  /** See `Evidence`. A lost event is known if it was acknowledged or if a client received it. */
  #lostPlaces(
    channel: string,
    isLost: IsLost,
    places: ReadonlyMap<number, number>,
    losses: Losses,
    clients: readonly Client[],
  ): ReadonlySet<number> | null {
    if (!losses.possible) return new Set();
    if (!keepsEverything(channel)) return null;
    const held = new Set(places.values());
    const mayBeLost = this.#ledger
      .unsettled(channel)
      .some(({ code, issuedAt, settledAt }) => !held.has(code) && losses.mayHaveMet(issuedAt, settledAt));
    if (mayBeLost) return null;
    const lost = new Set<number>();
    for (const publisher of this.#ledger.publishers(channel)) {
      for (const [number, { offset }] of this.#ledger.numbers(channel, publisher)) {
        if (offset !== null && isLost(codeOf({ publisher, number }), offset)) lost.add(offset);
      }
    }
    for (const { check } of clients) {
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
