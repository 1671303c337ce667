import { expect } from "chai";

import { eventually, settle } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { describeFaults } from "../support/fault-rig.js";
import { collectGarbage, heapUsed } from "../support/memory.js";
import { createUser } from "../support/fault-steps.js";

const BATCHES = 10;

/** The number of streams per run. With fewer streams, the growth of the rest of the heap is too large for each stream. */
const CHURN = { shared: 10_000, dedicated: 10_000 };

describeFaults(
  "streams that open and close, with one in thirty refused",
  (rig) => {
    for (const subscriptions of ["shared", "dedicated"] as const) {
      it(`${subscriptions}: leave no memory behind after ${CHURN[subscriptions]} streams, and all are counted`, async () => {
        const { service } = await rig.start({ redis: await createUser(rig, "&ok:*"), subscriptions });
        let refused = 0;
        const round = async (size: number): Promise<void> => {
          const opening = Array.from({ length: size }, async (_, index) => {
            const sink = new FakeSink();
            const name = index % 30 === 7 ? `denied:${index}` : `ok:${index % 40}`;
            await service.open({ key: `user ${index}` }, sink, name).catch(() => refused++);
            sink.leave();
          });
          await Promise.all(opening);
          await eventually(async () => expect((await service.status()).sessions.open).to.equal(0));
        };
        const batch = CHURN[subscriptions] / BATCHES;
        const grown: number[] = [];
        for (let count = 0; count < BATCHES; count++) {
          const before = await heapAtRest();
          for (let opened = 0; opened < batch; opened += 100) await round(100);
          grown.push(((await heapAtRest()) - before) / batch);
        }
        const streams = CHURN[subscriptions];
        const { sessions } = await service.status();
        expect(refused).to.equal((streams / 100) * 4);
        expect(sessions).to.deep.equal({
          open: 0,
          opened: streams,
          closed: { "client-gone": streams - refused, "subscribe-failed": refused },
          refused: {},
        });
        // A leak per stream shows in every batch. Other growth of the heap does not.
        expect(Math.min(...grown), `bytes for each stream: ${grown.join(", ")}`).to.be.lessThan(100);
      });
    }
  },
  { timeoutMs: 120_000 },
);

/** The heap size after garbage collection. Callbacks of the first collection can free more memory for the second one. */
async function heapAtRest(): Promise<number> {
  collectGarbage();
  await settle();
  return heapUsed();
}
