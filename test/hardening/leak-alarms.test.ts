import { expect } from "chai";

import type { Lease, RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { freePort } from "../support/redis-server.js";
import { createRandom } from "../support/random.js";

const NONE = { count: 0, channels: [] };

describeFaults("leak detection", (rig) => {
  it("gives the connections of each service a name with its instance", async () => {
    const [one, two] = await Promise.all([
      rig.start({ subscriptions: "dedicated" }),
      rig.start({ subscriptions: "shared" }),
    ]);
    await Promise.all([one.openLive("a"), two.openLive("a")]);
    await eventually(() => expect(one.service.pool.statistics.connections.subscriber).to.equal(1));
    const [first, second] = await Promise.all([one.service.status(), two.service.status()]);
    expect(first.instance).to.match(/^[\w.-]+-\d+-[0-9a-f]{12}$/);
    expect(first.instance).to.include(`-${process.pid}-`).and.not.equal(second.instance);
    expect((await rig.server.connectionNames()).toSorted()).to.deep.equal(
      [
        `redis-sse:command:${first.instance}`,
        `redis-sse:lease:${first.instance}`,
        // It hears of revocations.
        `redis-sse:subscriber:${first.instance}`,
        `redis-sse:command:${second.instance}`,
        `redis-sse:subscriber:${second.instance}`,
      ].toSorted(),
    );
  });

  for (const subscriptions of ["shared", "dedicated"] as const) {
    describe(subscriptions, () => {
      it("finds no drift while streams open and close", async () => {
        const app = await rig.start({ subscriptions });
        const quiet = await app.openLive("quiet");
        const random = createRandom(7);
        const churn = async (): Promise<void> => {
          for (let round = 0; round < 15; round++) {
            const client = await app.open(`room:${Math.floor(random() * 5)}`);
            await client.next(({ event }) => event === "connected");
            client.destroy();
          }
        };
        const looking = { done: false };
        const looks = (async () => {
          for (let count = 0; !looking.done || count < 20; count++) {
            const { drift } = await app.service.status();
            expect(drift, JSON.stringify(drift)).to.deep.include({ found: false, silent: NONE });
          }
        })();
        await Promise.all([churn(), churn(), churn()]);
        looking.done = true;
        await looks;
        quiet.destroy();
      });

      it("finds a channel without its subscription on the server, and names it", async () => {
        const app = await rig.start({ subscriptions });
        const leases = captureLeases(app.service);
        await Promise.all([app.openLive("deaf"), app.openLive("heard")]);
        const connections =
          subscriptions === "shared" ? [app.service.pool.subscriber] : leases.map(({ client }) => client);
        // Unsubscribes without the library, like a proxy that lost its state.
        await Promise.all(connections.map((client) => client.unsubscribe("deaf")));
        const { drift } = await app.service.status();
        expect(drift).to.deep.include({ found: true, silent: { count: 1, channels: ["deaf"] } });
        // One more subscription hears of revocations.
        if (subscriptions === "shared")
          expect(drift?.subscriptions).to.deep.equal({ expected: 3, actual: 2 });
      });
    });
  }

  it("shared: finds streams that get no events because their connection cannot reconnect", async () => {
    const app = await rig.start();
    await Promise.all([app.openLive("a"), app.openLive("b")]);
    await app.service.status();
    await rig.server.admin.config("SET", "maxclients", "2");
    await rig.server.killSubscribers();
    await eventually(async () => expect((await app.service.status()).hub.connected).to.equal(false));
    const { drift } = await app.service.status();
    expect(drift?.found).to.equal(true);
    expect(drift?.silent).to.have.property("count", 2);
    expect(drift?.connections?.subscriber).to.deep.equal({ expected: 1, actual: 0 });
    await rig.server.admin.config("SET", "maxclients", "100");
    await eventually(async () => expect((await app.service.status()).drift?.found).to.equal(false), 10_000);
  });

  it("reports no drift if Redis is unavailable", async () => {
    const away = rig.connect({ redis: `redis://127.0.0.1:${await freePort()}` });
    expect((await away.status()).drift).to.equal(null);
  });

  it("does not check for drift if the caller does not ask or the service closes", async () => {
    const app = await rig.start();
    await app.openLive("a");
    await app.service.pool.subscriber.unsubscribe("a");
    expect((await app.service.status({ drift: false })).drift).to.equal(null);
    expect(await rig.server.callsOf("pubsub|numsub")).to.equal(0);
    const status = app.service.status();
    await eventually(async () => expect(await rig.server.callsOf("pubsub|numsub")).to.equal(1));
    await app.service.close();
    expect((await status).drift).to.equal(null);
    expect(await rig.server.callsOf("pubsub|numsub")).to.equal(1);
  });
});

/** The leases that sessions take from now on. */
function captureLeases(service: RedisSse): readonly Lease[] {
  const { pool } = service;
  const leases: Lease[] = [];
  const lease = pool.lease.bind(pool);
  pool.lease = async (request) => {
    const taken = await lease(request);
    leases.push(taken);
    return taken;
  };
  return leases;
}
