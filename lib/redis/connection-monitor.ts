import type { Clock } from "../clock.js";
import { sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { readProperty } from "../thrown.js";
import { isRefusedSelect, type ConnectionRole, type RedisClient } from "./client.js";

/** A connection that comes back sooner is not worth a warning. */
const GRACE_MS = 1_000;

/** A command waits 5 s for a connection. */
const READY_MS = 4_000;

/** Writes to the service's log when Redis cannot be used, and why, and when it can be used again. */
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
    /** Writes the cause unless the connection is ready in time. A longer time does not replace a shorter one. */
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
      // ioredis 5 says it also after the server refused the database. The connection is dropped then.
      if (isRefused) return;
      isDown = false;
      cancel();
      this.#log.debug("%s connection is ready", role);
      this.#log.over("redis", "Redis at %s can be used again", addressOf(client));
    });
    // A leased connection ends with its stream.
    if (role === "lease") return;
    // A server that stops, or a proxy, may close a connection without any error.
    client.on("close", () => expectReady(GRACE_MS, "the connection was closed"));
    client.on("end", cancel);
    // A server that loads its data accepts connections, and refuses commands for minutes.
    client.on("connect", () => {
      isRefused = false;
      expectReady(READY_MS, "it is connected, and loads its data or does not answer");
    });
  }

  #lost(address: string, cause: string, advice = ""): void {
    this.#log.fault(
      "redis",
      "Redis at %s cannot be used: %s.%s The service tries again by itself.",
      address,
      cause,
      advice,
    );
  }
}

/**
 * The reason, without any secret, and advice if waiting does not help. A Cluster client says only that all nodes failed. Its
 * last error may say why.
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

/** What a Sentinel says of a name that it does not know; ioredis gives no last error if each Sentinel has answered. */
const NO_MASTER = /No such master with that name|^All sentinels are unreachable(?!.*Last error)/s;

/** Where the client connects to. A host may be a URL by mistake: its password is left out. */
function addressOf(client: RedisClient, error?: unknown): string {
  return readAddress(client, error).replace(/[^\s,"]*@/g, "***@");
}

/** Node's own error has the address that was tried. */
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
