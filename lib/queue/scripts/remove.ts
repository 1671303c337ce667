import type { Script } from "../../redis/script.js";
import { CLEAN, OBLITERATE, REMOVE } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

export type RemoveReply = "removed" | "unknown" | "running";

const REMOVE_REPLIES: Readonly<Record<string, RemoveReply>> = { 1: "removed", 2: "running" };

export const removeTask: Script<RemoveReply> = defineQueueScript(
  "Remove",
  REMOVE,
  ([reply]) => REMOVE_REPLIES[reply ?? ""] ?? "unknown",
);

export const cleanTasks: Script<{ readonly seen: number; readonly removed: number }> = defineQueueScript(
  "Clean",
  CLEAN,
  ([seen, removed]) => ({ seen: Number(seen), removed: Number(removed) }),
);

export const obliterateQueue: Script<"done" | "more" | "running"> = defineQueueScript(
  "Obliterate",
  OBLITERATE,
  ([reply]) => (reply === "0" ? "done" : reply === "1" ? "more" : "running"),
);
