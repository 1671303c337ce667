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

/** Expects each number of a channel with history exactly once, in order and without a gap. */
export function expectEveryNumber(events: readonly ReceivedEvent[], count: number): void {
  const told = events.filter(({ event }) => event === "message" || event === "gap").map(({ data }) => data);
  expect(told).to.deep.equal(Array.from({ length: count }, (_, number) => String(number)));
}
