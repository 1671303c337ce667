import { connect, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { expect } from "chai";

import { eventually, settle } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { describeFaults } from "../support/fault-rig.js";
import { countResources, expectNoMoreResources } from "../support/resources.js";
import { createRandom } from "../support/random.js";

const STREAMS = 500;

describeFaults(
  "500 streams come and go, some cut at random moments of their set-up",
  (rig) => {
    for (const subscriptions of ["shared", "dedicated"] as const) {
      it(`${subscriptions}: everything returns to where it was, and no more connections are used than the mode needs`, async () => {
        const pool = { maxConnections: STREAMS, acquireTimeoutMs: 10_000 };
        const { service, app, openLive } = await rig.start({ subscriptions, pool });
        const seed = Date.now() % 1_000_000;
        const random = createRandom(seed);
        // One stream has come and gone, so that the shared connections are part of the baseline.
        (await openLive("warm")).destroy();
        await service.pool.incrementWithTtl("warm");
        await eventually(async () => expect(await rig.server.activeChannels()).to.deep.equal([]));
        const backToBaseline = await rig.server.baseline();
        const resources = countResources();

        const sockets = Array.from({ length: STREAMS }, (_, index) =>
          openRaw(Number(new URL(app.url).port), `room:${index % 50}`, random() < 0.5 ? random() * 60 : null),
        );
        const kept = (await Promise.all(sockets)).filter((socket) => socket !== null);
        expect(kept.length, `seed ${seed}`).to.be.greaterThan(100);
        await eventually(async () => {
          expect((await service.status()).sessions.open).to.equal(kept.length);
          const connections = await rig.server.connections();
          const leases = connections.filter((name) => name === "redis-sse:lease").length;
          expect(leases).to.equal(subscriptions === "shared" ? 0 : kept.length);
          expect(connections.length - leases).to.equal(subscriptions === "shared" ? 2 : 1);
        }, 15_000);

        for (const socket of kept) socket.destroy();
        await backToBaseline();
        await eventually(() => expectNoMoreResources(resources, `seed ${seed}`));
      });
    }
  },
  { timeoutMs: 60_000 },
);

const BATCHES = 10;

/** Streams of one run: CHURN=10000 for the long profile of dedicated connections. */
const CHURN = { shared: 10_000, dedicated: Number(process.env["CHURN"] ?? 3_000) };

describeFaults(
  "streams that come and go, one in thirty refused",
  (rig) => {
    for (const subscriptions of ["shared", "dedicated"] as const) {
      it(`${subscriptions}: after ${CHURN[subscriptions]} of them memory is what it was, and every one is accounted for`, async () => {
        await rig.server.admin.acl("SETUSER", "app", "on", ">pw", "+@all", "~*", "resetchannels", "&ok:*");
        const { service } = await rig.start({
          redis: `redis://app:pw@127.0.0.1:${rig.server.port}`,
          subscriptions,
        });
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
          const before = await collectGarbage();
          for (let opened = 0; opened < batch; opened += 100) await round(100);
          grown.push(((await collectGarbage()) - before) / batch);
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
        // What stays of a stream stays in every batch; what the engine does beside it does not.
        expect(Math.min(...grown), `bytes for each stream: ${grown.join(", ")}`).to.be.lessThan(100);
      });
    }
  },
  { timeoutMs: 120_000 },
);

/** The heap in use when everything that can be freed is. */
async function collectGarbage(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  // What is freed by a callback of the first is there for the second.
  collect();
  await settle();
  collect();
  return process.memoryUsage().heapUsed;
}

/** Asks for a stream on a bare socket; cuts it after so many milliseconds, or keeps it once it is live. */
async function openRaw(port: number, channel: string, cutAfterMs: number | null): Promise<Socket | null> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(`GET /stream?channel=${channel} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  if (cutAfterMs !== null) {
    // The moment is the fault that is injected: some fall before the request is read, some after `connected`.
    await pause(cutAfterMs);
    socket.destroy();
    return null;
  }
  await new Promise<void>((resolve, reject) => {
    socket.on("data", (chunk) => chunk.includes("event: connected") && resolve());
    socket.on("close", () => reject(new Error("the stream was closed")));
  });
  return socket;
}
