import { RedisServer } from "../support/redis-server.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import type { AppOptions } from "./app-protocol.js";
import { AppProcess } from "./app-process.js";
import { Chance } from "./chance.js";
import { APP_USER, type FaultTarget } from "./faults.js";
import type { Ledger } from "./ledger.js";
import { keepsHistory, type SoakOptions } from "./options.js";
import { Publisher } from "./publisher.js";
import type { Violations } from "./violations.js";

/** What the clients meet: the app, and Redis behind a proxy; and a publisher, which goes past the proxy. */
export interface World extends FaultTarget {
  /** Ends whatever still runs. Never rejects. */
  stop(): Promise<void>;
}

/** The publisher's stream of chance. */
const PUBLISHER_CHANCE = 0;

export async function startWorld(
  program: string,
  options: SoakOptions,
  ledger: Ledger,
  violations: Violations,
): Promise<World> {
  const { name, password } = APP_USER;
  // Known from the start: a server that has crashed would otherwise refuse the app before it knows its user.
  const user = ["--user", name, "on", `>${password}`, "~*", "&*", "+@all"];
  const server = await RedisServer.start(program, user);
  const proxy = await TcpProxy.start(server.port);
  const url = new URL(proxy.url);
  url.username = name;
  url.password = password;
  const app = await AppProcess.start(appOptions(url.href, options), (trouble) =>
    violations.add("the app has no unhandled error and no warning", trouble),
  );
  const publisher = new Publisher(server.url, ledger, new Chance(options.seed, PUBLISHER_CHANCE));
  return {
    server,
    proxy,
    app,
    publisher,
    async stop() {
      publisher.stop();
      if (!app.hasExited) app.kill();
      await app.exited;
      await proxy.close();
      await server.stop();
    },
  };
}

/**
 * Limits so short and small that the soak reaches them. There is none of a lifetime: it would end what is left
 * behind before that is looked for.
 */
function appOptions(redis: string, { mode, clients }: SoakOptions): AppOptions {
  return {
    redis,
    subscriptions: mode,
    heartbeatMs: 1_000,
    retryMs: 1_000,
    history: keepsHistory(mode) ? { checkMs: 2_000 } : false,
    pool: {
      maxConnections: maxLeases(clients),
      acquireTimeoutMs: 1_500,
      maxWaiting: Math.ceil(clients / 10),
    },
    limits: {
      maxBufferedBytes: 128 * 1024,
      maxEventBytes: 64 * 1024,
      maxStallMs: 3_000,
      subscribeTimeoutMs: 1_500,
      closeTimeoutMs: 500,
    },
  };
}

/** Fewer than there are clients, so that the pool is exhausted again and again. */
export function maxLeases(clients: number): number {
  return Math.min(Math.ceil(clients / 2), 250);
}
