/**
 * What happens while the clients are away: tells where each channel stands, as a cursor, and then publishes what
 * they miss, in the form that the load client looks for.
 */
import { writeFile } from "node:fs/promises";

import { createRedisSse } from "redis-sse";

export interface Absence {
  readonly prefix: string;
  readonly channels: number;
  readonly events: number;
  /** Where the cursors go, a line for each channel. */
  readonly file: string;
}

const IN_FLIGHT = 256;
const { prefix, channels, events, file } = JSON.parse(process.env["BENCH_ABSENCE"]!) as Absence;
const service = createRedisSse({
  redis: process.env["BENCH_REDIS_URL"]!,
  history: { channels: { "long:*": { maxLength: 10_000 } } },
});

const names = Array.from({ length: channels }, (_, index) => `${prefix}${index}`);
const cursors: string[] = [];
for (const name of names) cursors.push((await service.lastEventId(name)) ?? "");
await writeFile(file, cursors.map((cursor) => `${cursor}\n`).join(""));

const underWay: Promise<unknown>[] = [];
for (let event = 0; event < events; event++) {
  for (const name of names) {
    if (underWay.length >= IN_FLIGHT) await underWay.shift();
    underWay.push(service.publish(name, { data: dataOf(event) }));
  }
}
await Promise.all(underWay);
await service.close();
process.disconnect?.();

/** A filler, and then `~#`, the number and a time, as `load/marker.h` has it: 100 bytes. */
function dataOf(event: number): string {
  return `~#${String(event).padStart(10, "0")}${"0".repeat(19)}`.padStart(100, "x");
}
