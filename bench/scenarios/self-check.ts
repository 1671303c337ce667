import { join } from "node:path";

import { portOf, startScript, stop } from "../harness/children.js";
import { LoadClient, VoidRun } from "../harness/load.js";
import { dist } from "../harness/paths.js";
import type { Fault } from "../targets/faulty.js";

/** What the load client has to say of each fault; null: nothing. */
const EXPECTED: Readonly<Record<Fault, RegExp | null>> = {
  none: null,
  loss: /\b3 lost, 0 repeated, 0 out of order/,
  repeat: /\b0 lost, 3 repeated, 0 out of order/,
  disorder: /\b0 lost, 0 repeated, 3 out of order/,
};

/** Before anything is measured: that the load client sees what it is there to see, however the bytes are cut. */
export async function checkInstrument(): Promise<void> {
  await Promise.all(
    Object.entries(EXPECTED).map(async ([fault, expected]) => {
      const found = await provoke(fault as Fault);
      if (expected === null ? found === null : expected.test(found ?? "")) return;
      throw new Error(`the load client, of a server with the fault "${fault}": ${found ?? "all is well"}`);
    }),
  );
}

/** Three streams, one event of which is treated badly. Answers why the run is void; null when it is not. */
async function provoke(fault: Fault): Promise<string | null> {
  const child = startScript(join(dist, "targets/faulty.js"), { BENCH_OPTIONS: JSON.stringify({ fault }) });
  try {
    const port = await portOf(child);
    const shape = { streams: 3, channels: 1, prefix: "checked:", window: 4 };
    const { client } = await LoadClient.open({ port, publishPort: port, ...shape });
    const { deliveries } = await client.run({ events: 50, seconds: 0 });
    await client.end();
    return deliveries === 150 ? null : `${deliveries} deliveries of 150`;
  } catch (error) {
    if (error instanceof VoidRun) return error.message;
    throw error;
  } finally {
    await stop(child);
  }
}
