import type { Script } from "../../redis/script.js";
import { REPORT } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

export type ReportReply = "taken" | "refused" | "unknown" | "cancelled";

const REPLIES: Readonly<Record<string, ReportReply>> = { 1: "taken", 2: "unknown", 3: "cancelled" };

export const reportTask: Script<ReportReply> = defineQueueScript(
  "Report",
  REPORT,
  ([reply]) => REPLIES[reply ?? ""] ?? "refused",
);
