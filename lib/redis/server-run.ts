import { sanitize } from "../errors.js";
import { isMock, type RedisClient } from "./client.js";

/** One start of a Redis server. */
export interface ServerRun {
  /** 16 bits of its `run_id`; 0 if unknown. */
  readonly id: number;
  /** Data of the run before it may be lost: only a server that has loaded an AOF has all of it. */
  readonly mayHaveLost: boolean;
}

const UNKNOWN: ServerRun = { id: 0, mayHaveLost: false };

/**
 * Finds out whether the server behind a connection may have lost data in a restart or a failover. A channel without a log may
 * have lost one, and no key in Redis can show that.
 */
export class ServerRuns {
  readonly #commands: () => RedisClient;
  /** The answer for the current connection; `null` after that is lost. */
  #current: Promise<ServerRun> | null = null;
  #watched: RedisClient | null = null;

  constructor(commands: () => RedisClient) {
    this.#commands = commands;
  }

  /** Unknown for a cluster and a mock, and without the right to `INFO`. Never rejects. */
  current(): Promise<ServerRun> {
    return (this.#current ??= this.#ask());
  }

  async #ask(): Promise<ServerRun> {
    try {
      const client = this.#commands();
      if (isMock(client) || "nodes" in client) return UNKNOWN;
      if (this.#watched !== client) {
        this.#watched = client;
        // The next connection may be to another server.
        client.on("close", () => (this.#current = null));
      }
      return readRun(await client.info());
    } catch (error) {
      // A right that is missing is asked for once for each connection, any other answer again.
      if (sanitize(error).code !== "REDIS_REFUSED") this.#current = null;
      return UNKNOWN;
    }
  }
}

function readRun(info: string): ServerRun {
  const field = (name: string): string | undefined => new RegExp(`^${name}:(\\w+)`, "m").exec(info)?.[1];
  return {
    id: Number.parseInt(field("run_id")?.slice(0, 4) ?? "", 16) || 0,
    mayHaveLost: field("aof_enabled") !== "1" || !/^db\d+:keys=[1-9]/m.test(info),
  };
}
