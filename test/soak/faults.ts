import type { Redis } from "ioredis";

import type { TcpProxy } from "../support/tcp-proxy.js";
import type { RedisServer } from "../support/redis-server.js";
import type { AppProcess } from "./app-process.js";
import type { FaultKind, PlannedFault } from "./fault-plan.js";
import { until, within } from "./patience.js";
import type { Publisher } from "./publisher.js";
import { CHANNELS, LOUD_CHANNEL } from "./visit-plan.js";

/** The user as whom the app logs in; so the app's connections can be told from the soak's own. */
export const APP_USER = { name: "app", password: "secret" } as const;

/** The server's default. */
const MAX_CLIENTS = 10_000;

/** For a command that brings a fault about; the server may be under an earlier one. */
const PATIENCE_MS = 2_000;

export interface FaultTarget {
  readonly server: RedisServer;
  readonly proxy: TcpProxy;
  readonly app: AppProcess;
  readonly publisher: Publisher;
}

/** Registers what undoes a fault, before it is brought about: what is given up may take effect all the same. */
type Afterwards = (undo: () => Promise<unknown>) => void;

type Provoke = (target: FaultTarget, fault: PlannedFault, afterwards: Afterwards) => Promise<unknown>;

/** How each fault is brought about. It rejects where the server is away just then: the fault is missed. */
export const provoke: Readonly<Record<FaultKind, Provoke>> = {
  "kill-subscribers": ({ server }) => command(server, killSubscribers),

  "kill-connections": ({ server }) => command(server, (admin) => killAppAs(admin, "TYPE", "normal")),

  "cut-links": async ({ proxy }) => proxy.cut(),

  "hold-links": async ({ proxy }, _, afterwards) => {
    afterwards(async () => proxy.release());
    proxy.hold();
  },

  "refuse-links": async ({ proxy }, _, afterwards) => {
    afterwards(async () => proxy.refuse(false));
    proxy.refuse(true);
    proxy.cut();
  },

  "cut-at-subscribe": ({ server, proxy }, _, afterwards) => {
    afterwards(async () => proxy.forgetCuts());
    proxy.cutAt("subscribe");
    return command(server, killSubscribers);
  },

  "cut-at-reply": async ({ proxy }, _, afterwards) => {
    afterwards(async () => proxy.forgetCuts());
    proxy.cutAtReply();
  },

  "pause-server": ({ server }, { durationMs, choice }, afterwards) => {
    // Heard when the pause is over.
    afterwards(() => insist(server, (admin) => admin.client("UNPAUSE")));
    const what = choice < 0.7 ? "ALL" : "WRITE";
    return command(server, (admin) => admin.call("CLIENT", "PAUSE", Math.max(1, durationMs), what));
  },

  "stop-server": async ({ server }, _, afterwards) => {
    const free = occupy(server);
    afterwards(async () => {
      server.signal("SIGCONT");
      free();
    });
    server.signal("SIGSTOP");
  },

  "crash-server": async ({ server }, _, afterwards) => {
    const free = occupy(server);
    afterwards(async () => {
      await until("Redis starts again", () => server.boot());
      free();
    });
    await server.kill();
  },

  "limit-clients": async ({ server }, { choice }, afterwards) => {
    const clients = await command(server, (admin) => admin.info("clients"));
    const present = Number(/connected_clients:(\d+)/.exec(clients)?.[1]);
    afterwards(() => insist(server, (admin) => admin.config("SET", "maxclients", MAX_CLIENTS)));
    await command(server, (admin) => admin.config("SET", "maxclients", present + Math.floor(choice * 6)));
  },

  "deny-channel": ({ server }, { choice }, afterwards) => {
    const all = [...CHANNELS, LOUD_CHANNEL];
    const denied = all[Math.floor(choice * all.length)];
    const granted = all.filter((channel) => channel !== denied).map((channel) => `&${channel}`);
    afterwards(() => insist(server, (admin) => setUser(admin, "allchannels")));
    return command(server, (admin) => setUser(admin, "resetchannels", ...granted));
  },

  "limit-output": async ({ server, publisher }, { choice }, afterwards) => {
    const limitTo = (limit: string) => (admin: Redis) =>
      admin.config("SET", "client-output-buffer-limit", `pubsub ${limit}`);
    afterwards(() => insist(server, limitTo("33554432 8388608 60")));
    await command(server, limitTo("65536 32768 1"));
    const channel = CHANNELS[Math.floor(choice * CHANNELS.length)]!;
    await within(PATIENCE_MS, publisher.burst(channel, 20, 8 * 1024));
  },

  "block-app": ({ app }, { durationMs }) => app.ask("block", durationMs),

  "rotate-password": async ({ server }, _, afterwards) => {
    afterwards(() => insist(server, (admin) => setUser(admin, "resetpass", `>${APP_USER.password}`)));
    await command(server, (admin) => setUser(admin, "resetpass", ">another"));
    await command(server, killAppAs);
  },
};

/** Resolves when the server has heard all that it was sent, also what nobody waited for any more. */
export function settleServer(server: RedisServer): Promise<void> {
  return insist(server, (admin) => admin.ping());
}

function killSubscribers(admin: Redis): Promise<unknown> {
  return admin.call("CLIENT", "KILL", "TYPE", "pubsub");
}

/** Only the app's: the admin connection and the publisher's are another user's. */
function killAppAs(admin: Redis, ...filter: string[]): Promise<unknown> {
  return admin.call("CLIENT", "KILL", "USER", APP_USER.name, ...filter);
}

function setUser(admin: Redis, ...rules: string[]): Promise<unknown> {
  return admin.call("ACL", "SETUSER", APP_USER.name, ...rules);
}

/** A command to a server that may be stopped, paused or gone at this moment. */
function command<T>(server: RedisServer, send: (admin: Redis) => Promise<T>): Promise<T> {
  return within(PATIENCE_MS, send(server.admin));
}

/** What undoes a fault is sent until it is done; a server that was started anew has forgotten the fault besides. */
function insist(server: RedisServer, send: (admin: Redis) => Promise<unknown>): Promise<void> {
  return until("a fault is undone", async () => {
    await command(server, send);
  });
}

const occupied = new WeakSet<RedisServer>();

/** A process is stopped or crashed, and has come back from it, before that happens to it again. */
function occupy(server: RedisServer): () => void {
  if (occupied.has(server)) throw new Error("its process is under another fault");
  occupied.add(server);
  return () => void occupied.delete(server);
}
