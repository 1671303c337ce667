import type { FaultRig } from "./fault-rig.js";
import { openStream, type ReceivedEvent, type SseClient } from "./sse-client.js";
import type { StreamApp } from "./stream-app.js";
import { isEvent } from "./stream-harness.js";

/** Steps that many fault tests share. */

/** Opens a stream on one or more channels, after an event id if given. It closes after the test. */
export async function openFrom(
  rig: FaultRig,
  { app }: Pick<StreamApp, "app">,
  channels: string | readonly string[],
  lastEventId?: string,
  more = "",
): Promise<SseClient> {
  const query = [channels].flat().map((channel) => `channel=${encodeURIComponent(channel)}`);
  const headers = lastEventId === undefined ? {} : { headers: { "Last-Event-ID": lastEventId } };
  const client = await openStream(`${app.url}/stream?${query.join("&")}${more}`, headers);
  rig.undo(() => client.destroy());
  return client;
}

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
