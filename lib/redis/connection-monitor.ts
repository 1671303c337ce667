import type { Clock } from "../clock.js";
import { sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { readProperty } from "../thrown.js";
import type { ConnectionRole, RedisClient } from "./client.js";

/** A connection that is ready again within this time causes no warning. */
const GRACE_MS = 1_000;

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
    let cancel = (): void => {};
    client.on("error", (error: unknown) => {
      isDown = true;
      cancel();
      this.#log.debug("%s connection: %s", role, sanitize(error).message);
      this.#lost(addressOf(client, error), ...causeOf(error));
    });
    client.on("ready", () => {
      isDown = false;
      cancel();
      this.#log.debug("%s connection is ready", role);
      this.#log.over("redis", "Redis at %s is available again", addressOf(client));
    });
    // A leased connection ends with its stream.
    if (role === "lease") return;
    // A proxy, or a server that stops, can close a connection without an error.
    client.on("close", () => {
      if (isDown) return;
      cancel();
      cancel = this.#clock.schedule(
        () => this.#lost(addressOf(client), "the connection was closed"),
        GRACE_MS,
      );
    });
    client.on("end", () => cancel());
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
function causeOf(error: unknown): [cause: string, advice?: string] {
  const { code, message } = sanitize(readProperty(error, "lastNodeError") ?? error);
  return code === "REDIS_AUTH" ? [message, " Check the user name and the password."] : [message];
}

/** The address of the server. Node's error has the address of the failed attempt. */
function addressOf(client: RedisClient, error?: unknown): string {
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
