import type { Request } from "express";

/** Returns the requested channel. */
export function channelOf(req: Request): string {
  const channel = req.query["channel"];
  return typeof channel === "string" ? channel : "none";
}

export const SSE_HEADERS = {
  "Content-Type": "text/event-stream",
  "Cache-Control": "no-cache",
  Connection: "keep-alive",
} as const;
