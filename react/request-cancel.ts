import type { StreamFollowOptions } from "./stream-options.js";
import { isTaskStatus, type CancelAnswer } from "./task-state.js";

const TIMEOUT_MS = 10_000;

/** Sends a request to a route of `taskCancel()`. Never rejects. */
export async function requestCancel(
  url: string | URL,
  { headers: given, credentials = "same-origin", token, fetch = globalThis.fetch }: StreamFollowOptions,
): Promise<CancelAnswer> {
  try {
    const headers: Record<string, string> = { ...given, Accept: "application/json" };
    if (token !== undefined) headers["Authorization"] = `Bearer ${await token({ isRefused: false })}`;
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(url, { method: "POST", headers, credentials, signal });
    const answer = (await response.json().catch(() => null)) as { status?: unknown } | null;
    if (response.ok && isTaskStatus(answer?.status)) return { status: answer.status, error: null };
    return { status: null, error: `http-${response.status}` };
  } catch {
    // The connection failed, or the token.
    return { status: null, error: "network" };
  }
}
