import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { isGap, typesOf } from "../support/fault-steps.js";

const STREAMS = 1_000;

/** How long Redis is away: OUTAGE_MS=30000 for the long profile. */
const OUTAGE_MS = Number(process.env["OUTAGE_MS"] ?? 4_000);

async function openAll(app: StreamApp): Promise<readonly SseClient[]> {
  const clients: SseClient[] = [];
  for (let start = 0; start < STREAMS; start += 100) {
    const opening = Array.from({ length: 100 }, (_, index) => app.openLive(`user:${start + index}`));
    clients.push(...(await Promise.all(opening)));
  }
  return clients;
}

describeFaults(
  `Redis is away for ${OUTAGE_MS / 1_000} s under ${STREAMS} streams`,
  (rig) => {
    for (const [what, history, withinMs] of [
      ["without a history", false, 2_000],
      // Logs are read over a connection with pauses of its own, and tried again a quarter of a heartbeat later.
      ["with one", {}, 3_000],
    ] as const) {
      it(`shared, ${what}: one connection at a time comes back, with pauses; all streams live again within ${withinMs / 1_000} s of its return`, async () => {
        const proxy = await rig.proxy();
        const app = await rig.start({ redis: proxy.url, heartbeatMs: 1_000, history });
        const clients = await openAll(app);
        await app.service.publish("user:0", { data: "before" });
        const tried = proxy.accepted;
        const heap = process.memoryUsage().heapUsed;

        await rig.server.kill();
        const awaySince = Date.now();
        await eventually(async () => {
          // Those who publish meanwhile are refused: nothing is kept for them.
          const fault: unknown = await app.service
            .publish("user:0", { data: "lost" })
            .catch((error: unknown) => error);
          expect(fault).to.have.property("code", "REDIS_UNAVAILABLE");
          expect(Date.now() - awaySince).to.be.greaterThan(OUTAGE_MS);
        }, OUTAGE_MS + 10_000);
        const tries = proxy.accepted - tried;
        // Of two connections; each tries at 50, 100, 200, ... ms, and then once a second, less up to half a second of jitter.
        expect(tries).to.be.within(2, 2 * (6 + OUTAGE_MS / 1_000));
        expect(process.memoryUsage().heapUsed - heap).to.be.lessThan(100_000_000);
        expect((await app.service.status()).sessions).to.deep.include({ open: STREAMS, closed: {} });

        await rig.server.boot();
        const backSince = Date.now();
        const gaps = await Promise.all(clients.map((client) => client.next(isGap, 10_000)));
        expect(await rig.server.activeChannels()).to.have.length(STREAMS);
        // Not a measure of speed: the longest pause between two tries is a second and a half.
        expect(
          Date.now() - backSince,
          "milliseconds from its return until all streams are live",
        ).to.be.lessThan(withinMs);
        const reason = history === false ? "interrupted" : "epoch";
        for (const { data } of gaps) expect(JSON.parse(data)).to.have.property("reason", reason);
        for (let user = 0; user < STREAMS; user++) await rig.server.admin.publish(`user:${user}`, "again");
        await Promise.all(clients.map((client) => client.next(({ data }) => data === "again")));
        for (const client of clients.slice(1))
          expect(typesOf(client)).to.deep.equal(["connected", "gap", "message"]);
        // The connection for commands has pauses of its own, and is back by itself too.
        await eventually(async () => {
          const connections = (await rig.server.connections()).toSorted();
          expect(connections).to.deep.equal(["redis-sse:command", "redis-sse:subscriber"]);
        });
      });
    }

    it("dedicated: all streams end with a word of when to come back, and nothing tries on their behalf", async () => {
      const proxy = await rig.proxy();
      const app = await rig.start({
        redis: proxy.url,
        subscriptions: "dedicated",
        pool: { maxConnections: STREAMS, acquireTimeoutMs: 10_000 },
      });
      const clients = await openAll(app);
      const tried = proxy.accepted;
      await rig.server.kill();
      await Promise.all(clients.map(({ ended }) => ended));
      for (const client of clients) {
        expect(typesOf(client)).to.deep.equal(["connected", "error", "closing"]);
        expect(client.retryMs).to.be.within(2_000, 4_000);
      }
      // Told to all at once, and to each another moment.
      expect(new Set(clients.map(({ retryMs }) => retryMs)).size).to.be.greaterThan(STREAMS / 4);
      await eventually(async () => {
        expect((await app.service.status()).sessions).to.deep.include({
          open: 0,
          closed: { "redis-lost": STREAMS },
        });
      });
      expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
      // Only the connection for commands is tried again, and by status() alone.
      expect(proxy.accepted - tried).to.be.lessThan(20);
      await rig.server.boot();
      await app.openLive("user:0");
    });
  },
  { timeoutMs: 60_000 + 2 * OUTAGE_MS, server: ["--maxclients", "2000"] },
);
