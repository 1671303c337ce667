import { setTimeout as pause } from "node:timers/promises";

import { Redis } from "ioredis";

import type { RedisSse } from "../../lib/index.js";
import { deferred } from "../support/eventually.js";
import { Chance } from "./chance.js";
import type { ChannelSet } from "./channels.js";
import type { Settled } from "./ledger.js";
import type { MemberPlan } from "./member.js";
import { machineNow } from "./patience.js";
import { encodePayload } from "./payload.js";

/** Maximum of pending publications while Redis is unavailable. */
const MOST_UNSETTLED = 40;
/** More events than a tiny history keeps. */
const LOUD_BURST = 25;
const LOUD_BYTES = 24 * 1024;

/** The publishing style of a publisher. */
export type PublisherStyle =
  /** One event at a time, each after the last one is settled. */
  | "sequential"
  /** Several events at once on one or two channels, without waiting. */
  | "bursts"
  /** More events at once than a tiny history keeps. */
  | "loud"
  /** Uses PUBLISH without this library, so nothing is retried. Only on channels without history. */
  | "plain";

export interface PublisherPlan {
  readonly id: number;
  readonly style: PublisherStyle;
  readonly everyMs: number;
}

/** A result with an id, or `null` if the channel has no history. */
type Send = (channel: string, data: string) => Promise<string | null>;

/** Numbers its events per channel and reports the outcome of each. */
export class Publisher {
  readonly #id: number;
  readonly #send: Send;
  readonly #isPlain: boolean;
  readonly #onSettled: (settled: Settled) => void;
  readonly #numbers = new Map<string, number>();

  constructor(id: number, send: Send, onSettled: (settled: Settled) => void, isPlain = false) {
    this.#id = id;
    this.#send = send;
    this.#onSettled = onSettled;
    this.#isPlain = isPlain;
  }

  async publish(channel: string, paddingBytes: number, send: Send = this.#send): Promise<Settled> {
    const number = (this.#numbers.get(channel) ?? 0) + 1;
    this.#numbers.set(channel, number);
    const payload = { channel, publisher: this.#id, number };
    const issuedAt = machineNow();
    const id = await send(channel, encodePayload(payload, paddingBytes)).catch(() => undefined);
    const settled = { ...payload, issuedAt, settledAt: machineNow(), id, isPlain: this.#isPlain };
    this.#onSettled(settled);
    return settled;
  }
}

/** The publishers of one process. */
export class Publishers {
  readonly #channels: ChannelSet;
  readonly #stopping = new AbortController();
  readonly #running: Promise<unknown>;
  readonly #plain: Redis | null;
  #burst: Publisher | null = null;

  constructor(
    service: RedisSse,
    { publishers, channels, seed, service: { redis } }: MemberPlan,
    onSettled: (settled: Settled) => void,
  ) {
    this.#channels = channels;
    const isPlain = publishers.some(({ style }) => style === "plain");
    this.#plain = isPlain && typeof redis === "string" ? connectPlainly(redis) : null;
    const sendPlainly: Send = (channel, data) => this.#plain!.publish(channel, data).then(() => null);
    const send: Send = async (channel, data) => (await service.publish(channel, { data })).id;
    this.#running = Promise.all(
      publishers.map((plan) => {
        const isPlain = plan.style === "plain";
        const publisher = new Publisher(plan.id, isPlain ? sendPlainly : send, onSettled, isPlain);
        if (isPlain) this.#burst = publisher;
        return this.#run(plan, publisher, new Chance(seed, plan.id));
      }),
    );
  }

  /** Starts no more publications. Resolves when all are settled. */
  async stop(): Promise<null> {
    this.#stopping.abort();
    await this.#running;
    this.#plain?.disconnect();
    return null;
  }

  /** Publishes enough in one command to exceed a small output buffer limit. */
  async burst(): Promise<null> {
    const [channel] = this.#channels.live;
    const executed = deferred<null>();
    const multi = this.#plain!.multi();
    const send: Send = (channel, data) => {
      multi.publish(channel, data);
      return executed.promise;
    };
    const all = Array.from({ length: 20 }, () => this.#burst!.publish(channel!, 8 * 1024, send));
    multi.exec().then(() => executed.resolve(null), executed.reject);
    await Promise.all(all);
    return null;
  }

  async #run({ style, everyMs }: PublisherPlan, publisher: Publisher, chance: Chance): Promise<void> {
    const { signal } = this.#stopping;
    const unsettled = new Set<Promise<unknown>>();
    const publish = (channel: string): Promise<unknown> => {
      const isLong = this.#channels.loud.includes(channel);
      const few = chance.is(0.02) ? chance.whole(4_000, 9_000) : chance.whole(0, 250);
      const publication = publisher.publish(channel, isLong ? LOUD_BYTES : few);
      unsettled.add(publication);
      return publication.finally(() => unsettled.delete(publication));
    };
    while (!signal.aborted) {
      const channels = this.#channelsOf(style, chance);
      if (style === "sequential") await publish(channels[0]!);
      else if (unsettled.size < MOST_UNSETTLED) {
        for (const channel of channels) {
          void publish(channel);
          // Some are written together, others one by one.
          if (chance.is(0.3)) await new Promise(setImmediate);
        }
      }
      await pause(everyMs * chance.between(0.2, 1.8), undefined, { signal }).catch(() => {});
    }
    await Promise.all(unsettled);
  }

  /** Channels for events that are published at once. */
  #channelsOf(style: PublisherStyle, chance: Chance): readonly string[] {
    const { kept, tiny, live, loud } = this.#channels;
    if (style === "plain") return [chance.oneOf(chance.is(0.25) ? loud : live)];
    // Prefers channels with regular events. A missing event of a history is read again, but a missing event of a live
    // channel shows an error.
    const steady = chance.is(0.3) ? live : kept.length > 0 ? kept : live;
    const channels = style === "loud" ? tiny : steady;
    const two = [chance.oneOf(channels), chance.oneOf(channels)];
    const count = { loud: LOUD_BURST, bursts: chance.whole(1, 8), sequential: 1 }[style];
    return Array.from({ length: count }, () => (chance.is(0.8) ? two[0]! : two[1]!));
  }
}

/** Commands are never retried or queued. An event is published once, in its turn, or not at all. */
function connectPlainly(url: string): Redis {
  const client = new Redis(url, {
    connectionName: "test:publisher",
    retryStrategy: () => 100,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
  });
  client.on("error", () => {});
  return client;
}
