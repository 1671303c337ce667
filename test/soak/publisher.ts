import { Redis } from "ioredis";

import type { Chance } from "./chance.js";
import { encodeNumber, type Ledger } from "./ledger.js";
import { CHANNELS, LOUD_CHANNEL } from "./visit-plan.js";

const INTERVAL_MS = 15;
const LOUD_BYTES = 24 * 1024;
/** One in so many goes to the loud channel: about half a megabyte in a second. */
const LOUD_EVERY = 4;

/** Publishes all numbers within one command: they are at once more than a small output limit admits. */
const BURST = `for number = tonumber(ARGV[2]), tonumber(ARGV[3]) do
redis.call('PUBLISH', ARGV[1], ARGV[1] .. ' ' .. number .. ' ' .. string.rep('x', tonumber(ARGV[4])))
end`;

/** Publishes the numbers of each channel, in order, past whatever is done to the app's links. */
export class Publisher {
  readonly #client: Redis;
  readonly #ledger: Ledger;
  readonly #chance: Chance;
  #timer: NodeJS.Timeout | undefined;
  #count = 0;

  constructor(url: string, ledger: Ledger, chance: Chance) {
    this.#ledger = ledger;
    this.#chance = chance;
    this.#client = new Redis(url, {
      connectionName: "test:publisher",
      retryStrategy: () => 100,
      // Nothing is sent twice and nothing is kept for later: a number is published once, in its turn, or not.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
    });
    this.#client.on("error", () => {});
  }

  start(): void {
    this.#timer = setInterval(() => {
      const loud = this.#count++ % LOUD_EVERY === 0;
      void this.publish(loud ? LOUD_CHANNEL : this.#chance.oneOf(CHANNELS), loud ? LOUD_BYTES : 0);
    }, INTERVAL_MS);
  }

  /** Answers the number, or null when its publication is not certain. */
  async publish(channel: string, paddingBytes = 0): Promise<number | null> {
    const number = this.#ledger.issue(channel);
    try {
      await this.#client.publish(channel, encodeNumber(channel, number, paddingBytes));
    } catch {
      return null;
    }
    this.#ledger.acknowledge(channel, number);
    return number;
  }

  async burst(channel: string, count: number, paddingBytes: number): Promise<void> {
    const numbers = Array.from({ length: count }, () => this.#ledger.issue(channel));
    try {
      await this.#client.eval(BURST, 0, channel, numbers[0]!, numbers.at(-1)!, paddingBytes);
    } catch {
      return;
    }
    for (const number of numbers) this.#ledger.acknowledge(channel, number);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#client.disconnect();
  }
}
