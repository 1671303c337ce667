import { destroyClient, type RedisClient } from "./client.js";

/** One connection, held alone until it is released. */
export class Lease {
  /** Who holds it, in words for an operator. */
  readonly holder: string;
  /** Since when, by the clock that is never set. */
  readonly since: number;
  readonly #client: RedisClient;
  readonly #giveBack: (lease: Lease) => void;
  #released = false;

  constructor(holder: string, since: number, client: RedisClient, giveBack: (lease: Lease) => void) {
    this.holder = holder;
    this.since = since;
    this.#client = client;
    this.#giveBack = giveBack;
  }

  /** Behind an accessor, so that printing a lease does not print the options of its connection. */
  get client(): RedisClient {
    return this.#client;
  }

  /** Drops the connection and gives the place back to the pool: once, however often it is called. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    try {
      destroyClient(this.#client);
    } finally {
      this.#giveBack(this);
    }
  }
}
