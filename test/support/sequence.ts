import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import type { ReceivedEvent } from "./sse-client.js";

/** Publishes the numbers from `from` on and before `to`, one after the other. */
export async function publishNumbers(
  service: RedisSse,
  channel: string,
  from: number,
  to: number,
): Promise<void> {
  for (let number = from; number < to; number++) await service.publish(channel, { data: String(number) });
}

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

/** What a stream received of one channel with a history: each of so many numbers once, in order, and no gap. */
export function expectEveryNumber(events: readonly ReceivedEvent[], count: number): void {
  const told = events.filter(({ event }) => event === "message" || event === "gap").map(({ data }) => data);
  expect(told).to.deep.equal(Array.from({ length: count }, (_, number) => String(number)));
}

/** How many of these are events that were published. */
export function countMessages(events: readonly ReceivedEvent[]): number {
  return events.filter(({ event }) => event === "message").length;
}
