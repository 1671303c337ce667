import { setTimeout as pause } from "node:timers/promises";

import type { RedisSse } from "../../lib/index.js";
import { Chance } from "../soak/chance.js";
import { CHANNELS, LIVE_CHANNELS, TINY_CHANNELS } from "./channels.js";
import { machineNow } from "./machine-clock.js";
import type { PublisherPlan, Settled } from "./member-protocol.js";
import { encodePayload } from "./payload.js";

/** While Redis is away: what is more is not begun. */
const MOST_UNSETTLED = 40;
/** Those on which there is an event now and then. */
const STEADY_CHANNELS = [...CHANNELS, ...LIVE_CHANNELS];
/** More than a tiny history keeps. */
const LOUD_BURST = 25;

/** The publishers of one process. Each numbers its events, channel by channel. */
export class Publishers {
  readonly #service: RedisSse;
  readonly #onSettled: (settled: Settled) => void;
  readonly #stopping = new AbortController();
  readonly #running: Promise<unknown>;

  constructor(
    service: RedisSse,
    plans: readonly PublisherPlan[],
    seed: number,
    onSettled: (settled: Settled) => void,
  ) {
    this.#service = service;
    this.#onSettled = onSettled;
    this.#running = Promise.all(plans.map((plan) => this.#run(plan, new Chance(seed, plan.id))));
  }

  /** Begins nothing more; resolves when everything is settled. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run({ id, style, everyMs }: PublisherPlan, chance: Chance): Promise<void> {
    const { signal } = this.#stopping;
    const unsettled = new Set<Promise<void>>();
    const numbers = new Map<string, number>();
    const publish = (channel: string): Promise<void> => {
      const number = (numbers.get(channel) ?? 0) + 1;
      numbers.set(channel, number);
      const publication = this.#publish({ channel, publisher: id, number }, chance);
      unsettled.add(publication);
      return publication.finally(() => unsettled.delete(publication));
    };
    while (!signal.aborted) {
      if (style === "sequential") await publish(chance.oneOf(STEADY_CHANNELS));
      else if (unsettled.size < MOST_UNSETTLED) {
        for (const channel of burst(style, chance)) {
          void publish(channel);
          // Some are written together, and some one by one.
          if (chance.is(0.3)) await new Promise(setImmediate);
        }
      }
      const part = chance.between(0.2, 1.8);
      await pause(everyMs * part, undefined, { signal }).catch(() => {});
    }
    await Promise.all(unsettled);
  }

  async #publish(payload: Omit<Settled, "issuedAt" | "settledAt" | "id">, chance: Chance): Promise<void> {
    const paddingBytes = chance.is(0.02) ? chance.whole(4_000, 9_000) : chance.whole(0, 250);
    const data = encodePayload(payload, paddingBytes);
    const issuedAt = machineNow();
    let id: string | null | undefined;
    let fault: string | undefined;
    try {
      ({ id } = await this.#service.publish(payload.channel, { data }));
    } catch (error) {
      fault = (error as Error).message;
    }
    this.#onSettled({
      ...payload,
      issuedAt,
      settledAt: machineNow(),
      id,
      ...(fault !== undefined && { fault }),
    });
  }
}

/** The channels of the events that are published at once. */
function burst(style: "bursts" | "loud", chance: Chance): readonly string[] {
  const [most, channels] = style === "loud" ? [LOUD_BURST, TINY_CHANNELS] : [8, STEADY_CHANNELS];
  const two = [chance.oneOf(channels), chance.oneOf(channels)];
  const count = style === "loud" ? most : chance.whole(1, most);
  return Array.from({ length: count }, () => (chance.is(0.8) ? two[0]! : two[1]!));
}
