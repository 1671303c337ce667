import type { Clock } from "../clock.js";
import { sanitize } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { readProperty } from "../thrown.js";
import type { ConnectionRole, RedisClient } from "./client.js";

/** A connection that comes back sooner is not worth a warning. */
const GRACE_MS = 1_000;

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
      this.#log.over("redis", "Redis at %s can be used again", addressOf(client));
    });
    // A leased connection ends with its stream.
    if (role === "lease") return;
    // A server that stops, or a proxy, may close a connection without any error.
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
      "Redis at %s cannot be used: %s.%s The service tries again by itself.",
      address,
      cause,
      advice,
    );
  }
}

/**
 * The reason, without any secret, and what to do where waiting does not help. A Cluster client says only that all nodes
 * failed; its last error may say why.
 */
function causeOf(error: unknown): [cause: string, advice?: string] {
  const { code, message } = sanitize(readProperty(error, "lastNodeError") ?? error);
  return code === "REDIS_AUTH" ? [message, " Check the user name and the password."] : [message];
}

/** Where the client connects to. Node's own error has the address that was tried. */
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
