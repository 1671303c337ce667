import { setTimeout as pause } from "node:timers/promises";

import type { TcpProxy } from "../support/tcp-proxy.js";
import type { FaultKind, PlannedFault } from "./fault-plan.js";
import type { Redises } from "./redises.js";
import type { Slot } from "./slot.js";

export interface FaultTarget {
  readonly redises: Redises;
  /** Those that serve streams. */
  readonly apps: readonly Slot[];
  /** All, also those that only publish. */
  readonly slots: readonly Slot[];
}

/** A drain takes a second, closing a few deadlines of half a second; a machine may be busy. */
const END_MS = 20_000;

type Provoke = (target: FaultTarget, fault: PlannedFault) => Promise<unknown>;

/** Brings each fault about and undoes it; resolves when that is done. Rejects where it could not be. */
export const provoke: Readonly<Record<FaultKind, Provoke>> = {
  "kill-subscribers": ({ redises }) =>
    redises.command((admin) => admin.call("CLIENT", "KILL", "TYPE", "pubsub")),

  "kill-commands": ({ redises }) =>
    redises.command((admin) => admin.call("CLIENT", "KILL", "TYPE", "normal")),

  "cut-redis-links": async ({ slots }, fault) => proxyOf(chosen(slots, fault)).cut(),

  "cut-at-reply": async ({ slots }, fault) => proxyOf(chosen(slots, fault)).cutAtReply(),

  "hold-redis-link": async ({ slots }, fault) => {
    const redis = proxyOf(chosen(slots, fault));
    redis.hold();
    await pause(fault.durationMs);
    redis.release();
  },

  "cut-streams": async ({ apps }, { choice }) => {
    for (const { clients } of apps) {
      clients.cutAfter(() => (Math.random() < choice ? 1 + Math.floor(Math.random() * 1_500) : Infinity));
    }
  },

  "forget-scripts": ({ redises }) => redises.command((admin) => admin.script("FLUSH")),

  "end-app": (target, fault) => replace(target, fault, "SIGTERM"),
  "kill-app": (target, fault) => replace(target, fault, "SIGKILL"),

  "stop-redis": ({ redises }, { choice, durationMs }) =>
    alone(redises, () => redises.freeze(choice, durationMs)),

  "crash-redis": ({ redises }, { choice, durationMs }) =>
    alone(redises, () => redises.crash(choice, durationMs)),

  "fail-over": ({ redises }, { choice }) => alone(redises, () => redises.failOver(choice)),

  "move-slot": ({ redises }, { choice, durationMs }) =>
    alone(redises, () => redises.moveSlot(choice, durationMs)),

  "cut-bus": ({ redises }, { choice, durationMs }) =>
    alone(redises, () => redises.cutBus(choice, durationMs)),
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

function proxyOf({ name, redis }: Slot): TcpProxy {
  if (redis === null) throw new Error(`${name} has no proxy to Redis`);
  return redis;
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
