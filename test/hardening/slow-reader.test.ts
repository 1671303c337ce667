import { expect } from "chai";

import { eventually, repeat } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { openStream } from "../support/sse-client.js";
import { TcpProxy } from "../support/tcp-proxy.js";

const KILOBYTE = "x".repeat(1_000);

describeFaults("a client that does not read", (rig) => {
  /** Publishes so many events of a kilobyte, numbered. */
  async function publish(channel: string, count: number): Promise<void> {
    for (let start = 0; start < count; start += 500) {
      const pipeline = rig.server.admin.pipeline();
      for (let index = start; index < Math.min(start + 500, count); index++) {
        pipeline.publish(channel, `${index} ${KILOBYTE}`);
      }
      await pipeline.exec();
    }
  }

  it("is dropped when too much waits for it, and costs the others nothing", async () => {
    const app = await rig.start({ limits: { maxBufferedBytes: 4 * 1024 * 1024 } });
    const slow = await app.openLive("a");
    const healthy = await app.openLive("a");
    slow.pause();
    await publish("a", 20_000);
    await healthy.next(({ data }) => data.startsWith("19999 "), 20_000);
    expect(healthy.events.filter(({ event }) => event === "message")).to.have.length(20_000);
    await eventually(async () => {
      expect((await app.service.status()).sessions).to.deep.include({
        open: 1,
        closed: { "slow-consumer": 1 },
      });
    });
  }).timeout(60_000);

  it("is dropped when it has not read for too long", async () => {
    const app = await rig.start({
      limits: { maxStallMs: 200, maxBufferedBytes: 64 * 1024 * 1024 },
    });
    const slow = await app.openLive("a");
    slow.pause();
    await publish("a", 10_000);
    await eventually(async () => {
      expect((await app.service.status()).sessions.closed).to.deep.equal({ "slow-consumer": 1 });
    }, 15_000);
  }).timeout(60_000);

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: that vanished without a FIN is dropped when what it does not take has waited too long`, async () => {
      const app = await rig.start({ subscriptions, limits: { maxStallMs: 300 } });
      // Between the client and the app, this one: its links go on as if nothing were.
      const network = await TcpProxy.start(Number(new URL(app.app.url).port));
      rig.undo(() => network.close());
      const gone = await openStream(`http://127.0.0.1:${network.port}/stream?channel=a`);
      await gone.next(({ event }) => event === "connected");
      network.hold();
      const publisher = repeat(() => publish("a", 500));
      await eventually(async () => {
        expect((await app.service.status({ drift: false })).sessions).to.deep.include({
          open: 0,
          closed: { "slow-consumer": 1 },
        });
      }, 20_000);
      await publisher.stop();
      gone.destroy();
    });
  }

  it("gets everything in order when it reads again in time", async () => {
    const app = await rig.start({ limits: { maxBufferedBytes: 64 * 1024 * 1024 } });
    const slow = await app.openLive("a");
    slow.pause();
    await publish("a", 10_000);
    slow.resume();
    await slow.next(({ data }) => data.startsWith("9999 "), 20_000);
    const numbers = slow.events
      .filter(({ event }) => event === "message")
      .map(({ data }) => parseInt(data, 10));
    expect(numbers).to.deep.equal(Array.from({ length: 10_000 }, (_, index) => index));
  }).timeout(60_000);

  it("does not hold up a drain", async () => {
    const app = await rig.start({
      limits: { maxBufferedBytes: 64 * 1024 * 1024, closeTimeoutMs: 300 },
    });
    const slow = await app.openLive("a");
    slow.pause();
    await publish("a", 10_000);
    await app.service.drain({ timeoutMs: 1_000, spreadMs: 0 });
    await eventually(async () => expect((await app.service.status()).sessions.open).to.equal(0));
  }).timeout(60_000);
});
