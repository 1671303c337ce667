import type { FaultRig } from "./fault-rig.js";
import { openStream, type ReceivedEvent, type SseClient } from "./sse-client.js";
import type { StreamApp } from "./stream-app.js";
import { isEvent } from "./stream-harness.js";

/** What many tests of faults do. */

/** Opens a stream on one or several channels, behind an event if its id is given; it leaves when the test is over. */
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

/** The types of the events of a stream. */
export function typesOf({ events }: Pick<SseClient, "events">): readonly string[] {
  return events.map(({ event }) => event);
}

/** The code that the first event of a stream tells. */
export function codeOf({ events }: Pick<SseClient, "events">): unknown {
  return (JSON.parse(events[0]!.data) as { code?: unknown }).code;
}

/** Makes a user of the server's, who may do everything but on these channels only; the answer is the URL to log in by. */
export async function createUser({ server }: FaultRig, ...channels: readonly string[]): Promise<string> {
  await server.admin.acl("SETUSER", "app", "on", ">pw", "+@all", "~*", "resetchannels", ...channels);
  return `redis://app:pw@127.0.0.1:${server.port}`;
}

/** The numbers from `from` on, as many as `count`, as texts. */
export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index));
}
