import { expect } from "chai";

import type { RedisSse } from "../../lib/index.js";
import type { ReceivedEvent } from "./sse-client.js";

/** Publishes the numbers from `from` up to, but without, `to`, one by one. */
export async function publishNumbers(
  service: RedisSse,
  channel: string,
  from: number,
  to: number,
): Promise<void> {
  for (let number = from; number < to; number++) await service.publish(channel, { data: String(number) });
}

/**
 * Expects that the received numbers of one channel increase. If a number is missing, a `gap` event of the channel
 * must come right before the next number.
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

/** Expects each number of a channel with history exactly once, in order and without a gap. */
export function expectEveryNumber(events: readonly ReceivedEvent[], count: number): void {
  const told = events.filter(({ event }) => event === "message" || event === "gap").map(({ data }) => data);
  expect(told).to.deep.equal(Array.from({ length: count }, (_, number) => String(number)));
}

/** Number of published events among these. */
export function countMessages(events: readonly ReceivedEvent[]): number {
  return events.filter(({ event }) => event === "message").length;
}
