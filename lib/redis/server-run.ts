import { isMock, type RedisClient } from "./client.js";

/** One start of a Redis server. */
export interface ServerRun {
  /** 16 bits of its `run_id`; 0 where it is not known. */
  readonly id: number;
  /** It had no data when it started: what the run before it had is lost. */
  readonly startedEmpty: boolean;
}

const UNKNOWN: ServerRun = { id: 0, startedEmpty: false };

/**
 * Finds out whether the server behind a connection has lost its data in a restart. Of a channel without a log no key in Redis
 * could tell: it may have had one before.
 */
export class ServerRuns {
  readonly #commands: () => RedisClient;
  /** The answer for the connection as it is; `null` once that is lost. */
  #current: Promise<ServerRun> | null = null;
  #watched: RedisClient | null = null;

  constructor(commands: () => RedisClient) {
    this.#commands = commands;
  }

  /** Not known of a cluster, a server before 7.0 and a mock, and without the right to `INFO`. Never rejects. */
  current(): Promise<ServerRun> {
    return (this.#current ??= this.#ask());
  }

  async #ask(): Promise<ServerRun> {
    try {
      const client = this.#commands();
      if (isMock(client) || "nodes" in client) return UNKNOWN;
      if (this.#watched !== client) {
        this.#watched = client;
        // The server may be another one when the connection is back.
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
