import { setTimeout as pause } from "node:timers/promises";

import type { Redis } from "ioredis";

import type { TcpProxy } from "../support/tcp-proxy.js";
import type { FaultKind, PlannedFault, Round } from "./fault-plan.js";
import type { Findings } from "./findings.js";
import { machineNow, until } from "./patience.js";
import type { Redises } from "./redises.js";
import type { Slot } from "./slot.js";
import type { Tally } from "./tally.js";

/** The Redis user of the processes on a single server. Some faults change its rights. */
export const APP_USER = { name: "app", password: "secret" } as const;

/** The default of the server. */
const MAX_CLIENTS = 10_000;

/**
 * A drain takes a second, and closing takes a few timeouts of half a second. The rest is reserve for a busy machine.
 */
const END_MS = 20_000;

export interface FaultTarget {
  readonly redises: Redises;
  /** Processes that serve streams. */
  readonly apps: readonly Slot[];
  /** All processes, also processes that only publish. */
  readonly slots: readonly Slot[];
  /** Processes whose connections to Redis are cut. */
  readonly linked: readonly Slot[];
  readonly channels: readonly string[];
  readonly clients: readonly { cutAfter(bytes: number): void }[];
}

/** A fault that could not be undone. It is a violation, but a fault that could not start is not. */
class NotUndone extends Error {}

type Provoke = (target: FaultTarget, fault: PlannedFault) => Promise<unknown>;

const killSubscribers = (admin: Redis): Promise<unknown> => admin.call("CLIENT", "KILL", "TYPE", "pubsub");

/** Faults of the servers themselves, one at a time. */
const byServers: Provoke = ({ redises }, { kind, choice, durationMs }) =>
  alone(redises, () => redises.faults[kind]!(choice, durationMs));

/** Starts each fault and undoes it. Resolves when that is done. Rejects if it is not possible. */
const provoke: Readonly<Record<FaultKind, Provoke>> = {
  "stop-redis": byServers,
  "crash-redis": byServers,
  "fail-over": byServers,
  "move-slot": byServers,
  "cut-bus": byServers,

  "kill-subscribers": ({ redises }) => redises.command(killSubscribers),
  "kill-commands": ({ redises }) =>
    redises.command((admin) => admin.call("CLIENT", "KILL", "TYPE", "normal")),
  "forget-scripts": ({ redises }) => redises.command((admin) => admin.script("FLUSH")),

  "cut-redis-links": async (target, fault) => proxyOf(target, fault).cut(),
  "cut-at-reply": async (target, fault) => proxyOf(target, fault).cutAtReply(),
  "cut-at-subscribe": (target, fault) => {
    const redis = proxyOf(target, fault);
    redis.cutAt("subscribe");
    const kill = (): Promise<void> => target.redises.command(killSubscribers);
    return during(fault, kill, () => redis.forgetCuts());
  },
  "hold-redis-link": (target, fault) => {
    const redis = proxyOf(target, fault);
    return during(
      fault,
      () => redis.hold(),
      () => redis.release(),
    );
  },
  "refuse-links": (target, fault) => {
    const redis = proxyOf(target, fault);
    redis.refuse(true);
    return during(
      fault,
      () => redis.cut(),
      () => redis.refuse(false),
    );
  },

  "cut-streams": async ({ clients }, { choice }) => {
    for (const client of clients) if (Math.random() < choice) client.cutAfter(Math.random() * 1_500);
  },

  "end-app": (target, fault) => replace(target, fault, "SIGTERM"),
  "kill-app": (target, fault) => replace(target, fault, "SIGKILL"),
  "block-app": ({ apps }, fault) => chosen(apps, fault).ask("block", fault.durationMs),

  "pause-redis": (target, fault) => {
    const what = fault.choice < 0.7 ? "ALL" : "WRITE";
    const pauseAll = (admin: Redis): Promise<unknown> =>
      admin.call("CLIENT", "PAUSE", fault.durationMs + 1, what);
    // Received after the pause.
    return byCommands(target, fault, pauseAll, (admin) => admin.client("UNPAUSE"));
  },

  "limit-clients": (target, fault) => {
    const limit = async (admin: Redis): Promise<void> => {
      const present = Number(/connected_clients:(\d+)/.exec(await admin.info("clients"))?.[1]);
      await admin.config("SET", "maxclients", present + Math.floor(fault.choice * 6));
    };
    return byCommands(target, fault, limit, (admin) => admin.config("SET", "maxclients", MAX_CLIENTS));
  },

  "deny-channel": (target, fault) => {
    const denied = chosen(target.channels, fault);
    const granted = target.channels.filter((channel) => channel !== denied).map((channel) => `&${channel}`);
    const deny = (admin: Redis): Promise<unknown> => setUser(admin, "resetchannels", ...granted);
    return byCommands(target, fault, deny, (admin) => setUser(admin, "allchannels"));
  },

  "limit-output": (target, fault) => {
    const limitTo = (limit: string) => (admin: Redis) =>
      admin.config("SET", "client-output-buffer-limit", `pubsub ${limit}`);
    const limitAndBurst = async (admin: Redis): Promise<void> => {
      await limitTo("65536 32768 1")(admin);
      await target.slots.at(-1)!.ask("burst");
    };
    return byCommands(target, fault, limitAndBurst, limitTo("33554432 8388608 60"));
  },

  "rotate-password": (target, fault) => {
    const rotate = async (admin: Redis): Promise<void> => {
      await setUser(admin, "resetpass", ">another");
      await admin.call("CLIENT", "KILL", "USER", APP_USER.name);
    };
    return byCommands(target, fault, rotate, (admin) => setUser(admin, "resetpass", `>${APP_USER.password}`));
  },
};

/** A fault that happened. Times are relative to the start of the run. */
export interface FaultRecord extends PlannedFault {
  readonly begunMs: number;
  outcome: string;
}

export interface FaultLog {
  readonly startedAt: number;
  readonly records: FaultRecord[];
  readonly tally: Tally;
  readonly findings: Findings;
}

/** Runs the faults of a round at their times. Resolves when the round is over and all faults are undone. */
export async function runFaults(
  target: FaultTarget,
  { lengthMs, faults }: Round,
  log: FaultLog,
): Promise<void> {
  const firstAt = machineNow();
  const run = async (fault: PlannedFault): Promise<void> => {
    await pause(firstAt + fault.atMs - machineNow());
    const record = { ...fault, begunMs: machineNow() - log.startedAt, outcome: "under way" };
    log.records.push(record);
    try {
      await provoke[fault.kind](target, fault);
      log.tally.add(fault.kind);
      record.outcome = `done by ${seconds(machineNow() - log.startedAt)}`;
    } catch (error) {
      log.tally.add("missed");
      record.outcome = `missed: ${(error as Error).message}`;
      if (error instanceof NotUndone) log.findings.add("every fault can be undone", record.outcome);
    }
  };
  await Promise.all([pause(lengthMs), ...faults.map(run)]);
  // The processes have received all requests, also requests that timed out.
  await insist(target.redises, (admin) => admin.ping());
}

export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(2)} s`;
}

/** A request that timed out can still take effect. So each started fault is undone. */
async function during(
  { durationMs }: PlannedFault,
  begin: () => unknown,
  undo: () => unknown,
): Promise<void> {
  try {
    await begin();
    await pause(durationMs);
  } finally {
    await (async () => undo())().catch((error: Error) => Promise.reject(new NotUndone(error.message)));
  }
}

function byCommands(
  { redises }: FaultTarget,
  fault: PlannedFault,
  begin: (admin: Redis) => Promise<unknown>,
  undo: (admin: Redis) => Promise<unknown>,
): Promise<void> {
  return during(
    fault,
    () => redises.command(begin),
    () => insist(redises, undo),
  );
}

/** Sends the command until it succeeds. A restarted server has also forgotten the fault. */
function insist(redises: Redises, send: (admin: Redis) => Promise<unknown>): Promise<void> {
  return until("a fault is undone", () => redises.command(send));
}

function setUser(admin: Redis, ...rules: string[]): Promise<unknown> {
  return admin.call("ACL", "SETUSER", APP_USER.name, ...rules);
}

function replace({ apps }: FaultTarget, fault: PlannedFault, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  const slot = chosen(apps, fault);
  return alone(slot, async () => {
    await slot.end(signal, END_MS);
    await pause(fault.durationMs);
    await slot.boot();
  });
}

function chosen<T>(all: readonly T[], { choice }: PlannedFault): T {
  return all[Math.floor(choice * all.length)]!;
}

function proxyOf({ linked }: FaultTarget, fault: PlannedFault): TcpProxy {
  return chosen(linked, fault).redis!;
}

const busy = new WeakMap<object, Promise<void>>();

/** A process must recover from one fault before the next one. */
async function alone(process: object, work: () => Promise<unknown>): Promise<void> {
  const turn = (busy.get(process) ?? Promise.resolve()).then(async () => void (await work()));
  busy.set(
    process,
    turn.catch(() => {}),
  );
  await turn;
}
