import type { Script } from "../../redis/script.js";
import { RENEW, SETTLE } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

export const settleTasks: Script<readonly boolean[]> = defineQueueScript("Settle", SETTLE, ([flags]) =>
  Array.from(flags!, (flag) => flag === "1"),
);

/** The result for one lease: it was renewed, it expired, or its task was cancelled. */
export type RenewReply = "held" | "lost" | "cancelled";

const RENEW_REPLIES: Readonly<Record<string, RenewReply>> = { 1: "held", 2: "cancelled" };

export const renewLeases: Script<readonly RenewReply[]> = defineQueueScript("Renew", RENEW, (reply) =>
  reply.map((answer) => RENEW_REPLIES[answer] ?? "lost"),
);
