import { setTimeout as pause } from "node:timers/promises";

import type { Redis } from "ioredis";

import { within } from "../soak/patience.js";
import type { RedisServer } from "../support/redis-server.js";
import type { FaultKind, PlannedFault } from "./fault-plan.js";
import type { Slot } from "./slot.js";

export interface FaultTarget {
  readonly server: RedisServer;
  /** Those that serve streams. */
  readonly apps: readonly Slot[];
  /** All, also those that only publish. */
  readonly slots: readonly Slot[];
}

/** For a command that brings a fault about; the server may be under an earlier one. */
const PATIENCE_MS = 2_000;
/** A drain takes a second, closing a few deadlines of half a second; a machine may be busy. */
const END_MS = 20_000;

type Provoke = (target: FaultTarget, fault: PlannedFault) => Promise<unknown>;

/** Brings each fault about and undoes it; resolves when that is done. Rejects where it could not be. */
export const provoke: Readonly<Record<FaultKind, Provoke>> = {
  "kill-subscribers": ({ server }) =>
    command(server, (admin) => admin.call("CLIENT", "KILL", "TYPE", "pubsub")),

  "kill-commands": ({ server }) => command(server, (admin) => admin.call("CLIENT", "KILL", "TYPE", "normal")),

  "cut-redis-links": async ({ slots }, fault) => chosen(slots, fault).redis.cut(),

  "cut-at-reply": async ({ slots }, fault) => chosen(slots, fault).redis.cutAtReply(),

  "hold-redis-link": async ({ slots }, fault) => {
    const { redis } = chosen(slots, fault);
    redis.hold();
    await pause(fault.durationMs);
    redis.release();
  },

  "cut-streams": async ({ apps }, { choice }) => {
    for (const { clients } of apps) {
      clients.cutAfter(() => (Math.random() < choice ? 1 + Math.floor(Math.random() * 1_500) : Infinity));
    }
  },

  "forget-scripts": ({ server }) => command(server, (admin) => admin.script("FLUSH")),

  "end-app": (target, fault) => replace(target, fault, "SIGTERM"),
  "kill-app": (target, fault) => replace(target, fault, "SIGKILL"),

  "stop-redis": ({ server }, { durationMs }) =>
    alone(server, async () => {
      server.signal("SIGSTOP");
      await pause(durationMs);
      server.signal("SIGCONT");
    }),

  "crash-redis": ({ server }, { durationMs }) =>
    alone(server, async () => {
      await server.kill();
      await pause(durationMs);
      await server.boot();
    }),
};

function replace({ apps }: FaultTarget, fault: PlannedFault, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  const slot = chosen(apps, fault);
  return alone(slot, async () => {
    await slot.end(signal, END_MS);
    await pause(fault.durationMs);
    await slot.boot();
  });
}

function chosen(slots: readonly Slot[], { choice }: PlannedFault): Slot {
  return slots[Math.floor(choice * slots.length)]!;
}

function command<T>(server: RedisServer, send: (admin: Redis) => Promise<T>): Promise<T> {
  return within(PATIENCE_MS, send(server.admin));
}

const busy = new WeakMap<object, Promise<void>>();

/** A process has come back from one fault before the next is done to it. */
async function alone(process: object, work: () => Promise<void>): Promise<void> {
  const turn = (busy.get(process) ?? Promise.resolve()).then(work);
  busy.set(
    process,
    turn.catch(() => {}),
  );
  await turn;
}
