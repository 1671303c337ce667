import type { Script } from "../../redis/script.js";
import { CANCEL } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

export const cancelTask: Script<"cancelled" | "over" | "unknown"> = defineQueueScript(
  "Cancel",
  CANCEL,
  ([reply]): "cancelled" | "over" | "unknown" => {
    if (reply === "2") return "unknown";
    return reply === "1" ? "cancelled" : "over";
  },
);
