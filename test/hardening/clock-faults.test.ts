import { expect } from "chai";
import { restore, stub } from "sinon";

import { eventually } from "../support/eventually.js";
import { describeFaults, type FaultRig } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";

const DAY_MS = 24 * 3600 * 1000;

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(`the wall clock is set while streams are open, ${subscriptions}`, (rig) => {
    /** By then every deadline of the service was looked at several times. */
    async function severalHeartbeats(client: SseClient): Promise<void> {
      const before = client.comments.length;
      await eventually(() => expect(client.comments.length).to.be.greaterThan(before + 3));
    }

    for (const [direction, byMs] of [
      ["forwards", DAY_MS],
      ["back", -DAY_MS],
    ] as const) {
      it(`${direction} by a day: heartbeats go on, and nobody is dropped before the time`, async () => {
        const { service, openLive } = await rig.start({
          subscriptions,
          heartbeatMs: 40,
          limits: { maxLifetimeMs: DAY_MS / 2, maxStallMs: DAY_MS / 2 },
        });
        const client = await openLive("a");
        const blocked = rig.sink();
        const session = await service.open({}, blocked, "a");
        blocked.takes = false;
        await service.publish("a", { data: "blocks" });
        await eventually(() => expect(blocked.text).to.include("blocks"));
        await service.publish("a", { data: "waits" });
        await eventually(() => expect(session.statistics.bufferedBytes).to.be.greaterThan(0));
        setClock(rig, byMs);
        await severalHeartbeats(client);
        expect((await service.status()).sessions).to.deep.include({ open: 2, closed: {} });
        blocked.drain();
        expect(blocked.text).to.include("waits");
      });

      it(`${direction} by a day: a stream ends at the end of its lifetime, not sooner and not later`, async () => {
        const maxLifetimeMs = 500;
        const { service, openLive } = await rig.start({
          subscriptions,
          heartbeatMs: 40,
          limits: { maxLifetimeMs },
        });
        const startedAt = performance.now();
        const client = await openLive("a");
        setClock(rig, byMs);
        await client.ended;
        expect(client.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"max-lifetime"}' });
        // Up to a fifth is taken off at random. The rest is this machine's, and nowhere near the day.
        expect(performance.now() - startedAt).to.be.within(maxLifetimeMs * 0.8, maxLifetimeMs * 20);
        await eventually(async () => {
          expect((await service.status()).sessions.closed).to.deep.equal({ "max-lifetime": 1 });
        });
      });

      if (subscriptions === "dedicated") {
        it(`${direction} by a day: whoever waits for a connection has the one that comes free, and its age is right`, async () => {
          const { service, open, openLive } = await rig.start({
            subscriptions,
            pool: { maxConnections: 1, acquireTimeoutMs: 15_000 },
          });
          const first = await openLive("a");
          const second = open("b");
          await eventually(() => expect(service.pool.statistics.waiting).to.equal(1));
          setClock(rig, byMs);
          expect(service.pool.statistics.leases[0]!.ageMs).to.be.within(0, 60_000);
          first.destroy();
          await (await second).next(({ event }) => event === "connected");
          expect(service.pool.statistics.leases[0]!.ageMs).to.be.within(0, 60_000);
        });
      }
    }

    it("what is dated has the date that was set", async () => {
      const { service } = await rig.start({ subscriptions });
      setClock(rig, DAY_MS);
      await service.notifications.create({ userId: "ann", title: "tomorrow" });
      const [notification] = await service.notifications.list("ann");
      const aheadMs = Date.parse(notification!.createdAt) - (Date.now() - DAY_MS);
      expect(aheadMs).to.be.within(DAY_MS - 60_000, DAY_MS);
    });
  });
}

/** Sets this process' clock for one test, as NTP and administrators do; its timers do not notice. */
function setClock(rig: FaultRig, byMs: number): void {
  const { now } = Date;
  stub(Date, "now").callsFake(() => now() + byMs);
  rig.undo(() => restore());
}
