import { sanitize } from "../errors.js";
import { isMock, type RedisClient } from "./client.js";

/** One start of a Redis server. */
export interface ServerRun {
  /** 16 bits of its `run_id`; 0 if unknown. */
  readonly id: number;
  /** Whether the server may have lost data at its start. A server that loaded an AOF has all data. */
  readonly mayHaveLost: boolean;
}

const UNKNOWN: ServerRun = { id: 0, mayHaveLost: false };

/**
 * Detects that a server may have lost data in a restart or a failover. If a channel has no log, no key in Redis shows whether it lost
 * one.
 */
export class ServerRuns {
  readonly #commands: () => RedisClient;
  /** The answer for the current connection. `null` after this connection was lost. */
  #current: Promise<ServerRun> | null = null;
  #watched: RedisClient | null = null;

  constructor(commands: () => RedisClient) {
    this.#commands = commands;
  }

  /** The run is unknown for a cluster, for a mock, and if an ACL rule denies `INFO`. Never rejects. */
  current(): Promise<ServerRun> {
    return (this.#current ??= this.#ask());
  }

  async #ask(): Promise<ServerRun> {
    try {
      const client = this.#commands();
      if (isMock(client) || "nodes" in client) return UNKNOWN;
      if (this.#watched !== client) {
        this.#watched = client;
        // The next connection may lead to another server.
        client.on("close", () => (this.#current = null));
      }
      return readRun(await client.info());
    } catch (error) {
      // If an ACL rule denies INFO, do not ask again on this connection. After other errors, ask again.
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
