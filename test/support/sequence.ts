import { expect } from "chai";

import type { ReceivedEvent } from "./sse-client.js";

/**
 * What a stream received of one channel on which consecutive numbers are published: each is greater than the one
 * before, and where one is missing a `gap` of that channel stands right before the next.
 */
export function expectNoSilentHole(events: readonly ReceivedEvent[], channel: string): void {
  let last: number | null = null;
  let told = false;
  for (const { event, data } of events) {
    if (event === "gap") told ||= (JSON.parse(data) as { channels: string[] }).channels.includes(channel);
    if (event !== "message") continue;
    const number = Number(data);
    if (last !== null) {
      expect(number, `after ${last} on ${channel}`).to.be.greaterThan(last);
      if (number !== last + 1) expect(told, `a gap told between ${last} and ${number}`).to.equal(true);
    }
    last = number;
    told = false;
  }
}

/** How many of these are events that were published. */
export function countMessages(events: readonly ReceivedEvent[]): number {
  return events.filter(({ event }) => event === "message").length;
}
