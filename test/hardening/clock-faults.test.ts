import { expect } from "chai";
import { restore, stub } from "sinon";

import { eventually } from "../support/eventually.js";
import { describeFaults, type FaultRig } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";

const DAY_MS = 24 * 3600 * 1000;

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(`a service whose wall clock changes, ${subscriptions}`, (rig) => {
    /** Waits for several heartbeats, so that the service has checked every deadline. */
    async function severalHeartbeats(client: SseClient): Promise<void> {
      const before = client.comments.length;
      await eventually(() => expect(client.comments.length).to.be.greaterThan(before + 3));
    }

    for (const [direction, byMs] of [
      ["forwards", DAY_MS],
      ["back", -DAY_MS],
    ] as const) {
      it(`keeps sending heartbeats and closes no stream early if the clock moves ${direction} by a day`, async () => {
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

      it(`ends a stream at the end of its lifetime if the clock moves ${direction} by a day`, async () => {
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
        // The lifetime is shortened by up to a fifth at random. The upper bound allows for a slow machine.
        expect(performance.now() - startedAt).to.be.within(maxLifetimeMs * 0.8, maxLifetimeMs * 20);
        await eventually(async () => {
          expect((await service.status()).sessions.closed).to.deep.equal({ "max-lifetime": 1 });
        });
      });

      if (subscriptions === "dedicated") {
        it(`leases a released connection to the waiting stream, and reports its right age, if the clock moves ${direction} by a day`, async () => {
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

    it("dates notifications by the new wall clock", async () => {
      const { service } = await rig.start({ subscriptions });
      setClock(rig, DAY_MS);
      await service.notifications.create({ userId: "ann", title: "tomorrow" });
      const [notification] = await service.notifications.list("ann");
      const aheadMs = Date.parse(notification!.createdAt) - (Date.now() - DAY_MS);
      expect(aheadMs).to.be.within(DAY_MS - 60_000, DAY_MS);
    });
  });
}

/** Moves `Date.now()` for one test, as NTP and administrators do. Timers are not affected. */
function setClock(rig: FaultRig, byMs: number): void {
  const { now } = Date;
  stub(Date, "now").callsFake(() => now() + byMs);
  rig.undo(() => restore());
}
