import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { pid } from "node:process";

import type { ConnectionRole } from "./client.js";

/**
 * Creates the name of one service of one process: `<host>-<pid>-<random>`. With it, an operator can identify the process of a
 * connection in `CLIENT LIST`. The random part is needed because containers often have the same pid, and a process can have two
 * services.
 */
export function createInstanceName(): string {
  // Redis allows only printable ASCII without spaces in a connection name.
  const host = hostname()
    .replace(/[^\w.-]/g, "_")
    .slice(0, 64);
  return `${host}-${pid}-${randomBytes(6).toString("hex")}`;
}

/** The name of a connection on the server: `redis-sse:<role>:<instance>`. */
export function connectionName(role: ConnectionRole, instance: string): string {
  return `redis-sse:${role}:${instance}`;
}
