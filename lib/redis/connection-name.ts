import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { pid } from "node:process";

import type { ConnectionRole } from "./client.js";

/**
 * A name for one service of one process, `<host>-<pid>-<random>`: an operator who sees it in `CLIENT LIST`
 * knows whose connection that is. Containers often share a pid, and a process may have two services.
 */
export function createInstanceName(): string {
  // A name in CLIENT LIST holds printable ASCII without spaces.
  const host = hostname()
    .replace(/[^\w.-]/g, "_")
    .slice(0, 64);
  return `${host}-${pid}-${randomBytes(6).toString("hex")}`;
}

/** What a connection is called on the server: `redis-sse:<role>:<instance>`. */
export function connectionName(role: ConnectionRole, instance: string): string {
  return `redis-sse:${role}:${instance}`;
}
