import type { FaultRig } from "./fault-rig.js";
import type { ReceivedEvent, SseClient } from "./sse-client.js";
import { isEvent } from "./stream-harness.js";

/** Steps that many fault tests share. */

export const isConnected: (event: ReceivedEvent) => boolean = isEvent("connected");
export const isGap: (event: ReceivedEvent) => boolean = isEvent("gap");

/** Types of the events of a stream. */
export function typesOf({ events }: Pick<SseClient, "events">): readonly string[] {
  return events.map(({ event }) => event);
}

/** Error code in the first event of a stream. */
export function codeOf({ events }: Pick<SseClient, "events">): unknown {
  return (JSON.parse(events[0]!.data) as { code?: unknown }).code;
}

/** Creates a Redis user that may use only these channels. Returns the URL for this user. */
export async function createUser({ server }: FaultRig, ...channels: readonly string[]): Promise<string> {
  await server.admin.acl("SETUSER", "app", "on", ">pw", "+@all", "~*", "resetchannels", ...channels);
  return `redis://app:pw@127.0.0.1:${server.port}`;
}

/** `count` consecutive numbers from `from`, as texts. */
export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index));
}
