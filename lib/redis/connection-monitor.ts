import type { Clock } from "../clock.js";
import { sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { readProperty } from "../thrown.js";
import { isRefusedSelect, type ConnectionRole, type RedisClient } from "./client.js";

/** A connection that is ready again within this time causes no warning. */
const GRACE_MS = 1_000;

/** A command waits 5 s for a connection. The warning must come before its error. */
const READY_MS = 4_000;

/** Writes to the log of the service when Redis becomes unavailable, why, and when it is available again. */
export class ConnectionMonitor {
  readonly #log: ServiceLog;
  readonly #clock: Clock;

  constructor(log: ServiceLog, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Watches a connection until it ends. */
  watch(role: ConnectionRole, client: RedisClient): void {
    let isDown = false;
    let isRefused = false;
    let pendingMs = Infinity;
    let cancelTimer = (): void => {};
    const cancel = (): void => {
      pendingMs = Infinity;
      cancelTimer();
    };
    /** Writes the cause unless the connection is ready in time. A shorter time has priority. */
    const expectReady = (delayMs: number, cause: string): void => {
      if (isDown || delayMs >= pendingMs) return;
      cancel();
      pendingMs = delayMs;
      cancelTimer = this.#clock.schedule(() => {
        pendingMs = Infinity;
        this.#lost(addressOf(client), cause);
      }, delayMs);
    };
    client.on("error", (error: unknown) => {
      isDown = true;
      isRefused = isRefusedSelect(error);
      cancel();
      this.#log.debug("%s connection: %s", role, sanitize(error).message);
      this.#lost(addressOf(client, error), ...causeOf(error, client));
    });
    client.on("ready", () => {
      // ioredis 5 emits `ready` also after a refused database. The connection is dropped then.
      if (isRefused) return;
      isDown = false;
      cancel();
      this.#log.debug("%s connection is ready", role);
      this.#log.over("redis", "Redis at %s is available again", addressOf(client));
    });
    // A leased connection ends with its stream.
    if (role === "lease") return;
    // A proxy, or a server that stops, can close a connection without an error.
    client.on("close", () => expectReady(GRACE_MS, "the connection was closed"));
    client.on("end", cancel);
    // A server that loads its data accepts connections, but refuses commands for minutes.
    client.on("connect", () => {
      isRefused = false;
      expectReady(READY_MS, "it is connected, and loads its data or does not answer");
    });
  }

  #lost(address: string, cause: string, advice = ""): void {
    this.#log.fault(
      "redis",
      "Redis at %s is unavailable: %s.%s The service reconnects by itself.",
      address,
      cause,
      advice,
    );
  }
}

/**
 * Returns the cause without secrets, and advice if waiting does not help. The error of a Cluster client only says that all nodes
 * failed. Its last error can have the cause.
 */
function causeOf(error: unknown, client: RedisClient): [cause: string, advice?: string] {
  if (isRefusedSelect(error)) {
    const { db } = client.options as { readonly db?: number };
    return [`the server refused database ${db}, the option db`];
  }
  const text = readProperty(error, "message");
  if (typeof text === "string" && NO_MASTER.test(text)) return ["no Sentinel knows a master of that name"];
  const { code, message } = sanitize(readProperty(error, "lastNodeError") ?? error);
  return code === "REDIS_AUTH" ? [message, " Check the user name and the password."] : [message];
}

/** The answer of a Sentinel for an unknown master. If every Sentinel has answered, the error of ioredis has no last error. */
const NO_MASTER = /No such master with that name|^All sentinels are unreachable(?!.*Last error)/s;

/** The address of the server, without a password: the host can be a URL by mistake. */
function addressOf(client: RedisClient, error?: unknown): string {
  return readAddress(client, error).replace(/[^\s,"]*@/g, "***@");
}

/** Node's error has the address of the failed attempt. */
function readAddress(client: RedisClient, error: unknown): string {
  const failed = readProperty(error, "lastNodeError") ?? error;
  const [address, port] = [readProperty(failed, "address"), readProperty(failed, "port")];
  if (typeof address === "string") return typeof port === "number" ? `${address}:${port}` : address;
  if ("nodes" in client) return client.nodes().map(addressOfNode).join(", ") || "the nodes of the cluster";
  return addressOfNode(client);
}

function addressOfNode({ options }: Exclude<RedisClient, { nodes: unknown }>): string {
  const { path, host = "localhost", port = 6379, sentinels, name } = options as Partial<typeof options>;
  if (sentinels && sentinels.length > 0) {
    const list = sentinels.map((each) => `${each.host ?? "localhost"}:${each.port ?? 26_379}`).join(", ");
    return `master "${name ?? ""}" of the Sentinels ${list}`;
  }
  return path ?? `${host}:${port}`;
}
