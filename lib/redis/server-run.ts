import { isMock, type RedisClient } from "./client.js";

/** One start of a Redis server. */
export interface ServerRun {
  /** 16 bits of its `run_id`; 0 if unknown. */
  readonly id: number;
  /** The server started without data: the data of the run before it is lost. Always false if Redis uses AOF. */
  readonly startedEmpty: boolean;
}

const UNKNOWN: ServerRun = { id: 0, startedEmpty: false };

/**
 * Finds out whether the server behind a connection lost its data in a restart. A channel without a log may have
 * lost one, and no key in Redis can show that.
 */
export class ServerRuns {
  readonly #commands: () => RedisClient;
  /** The answer for the current connection; `null` after that is lost. */
  #current: Promise<ServerRun> | null = null;
  #watched: RedisClient | null = null;

  constructor(commands: () => RedisClient) {
    this.#commands = commands;
  }

  /**
   * Unknown for a cluster and a mock, and without the right to `INFO`. A server before 7.0 does not say whether it had data.
   * Never rejects.
   */
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
    } catch {
      return UNKNOWN;
    }
  }
}

function readRun(info: string): ServerRun {
  const field = (name: string): string | undefined => new RegExp(`^${name}:(\\w+)`, "m").exec(info)?.[1];
  return {
    id: Number.parseInt(field("run_id")?.slice(0, 4) ?? "", 16) || 0,
    startedEmpty: field("aof_enabled") === "0" && field("rdb_last_load_keys_loaded") === "0",
  };
}
