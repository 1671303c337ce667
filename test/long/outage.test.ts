import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { isGap, typesOf } from "../support/fault-steps.js";

const STREAMS = 1_000;

/** The duration of the outage. Set OUTAGE_MS=30000 for a long run. */
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
  `an outage of Redis of ${OUTAGE_MS / 1_000} s with ${STREAMS} streams`,
  (rig) => {
    for (const [what, history, withinMs] of [
      ["without history", false, 2_000],
      // Histories are read over another connection. It has its own pauses, and retries after a quarter of a heartbeat.
      ["with history", {}, 3_000],
    ] as const) {
      it(`shared, ${what}: reconnects with pauses, and all streams are live within ${withinMs / 1_000} s of the restart`, async () => {
        const proxy = await rig.proxy();
        const app = await rig.start({ redis: proxy.url, heartbeatMs: 1_000, history });
        const clients = await openAll(app);
        await app.service.publish("user:0", { data: "before" });
        const tried = proxy.accepted;
        const heap = process.memoryUsage().heapUsed;

        await rig.server.kill();
        const awaySince = Date.now();
        await eventually(async () => {
          // Calls of publish() during the outage are rejected, not queued.
          const fault: unknown = await app.service
            .publish("user:0", { data: "lost" })
            .catch((error: unknown) => error);
          expect(fault).to.have.property("code", "REDIS_UNAVAILABLE");
          expect(Date.now() - awaySince).to.be.greaterThan(OUTAGE_MS);
        }, OUTAGE_MS + 10_000);
        const tries = proxy.accepted - tried;
        // Two connections. Each retries after 50, 100, 200, ... ms, then every second, minus up to 0.5 s of jitter.
        expect(tries).to.be.within(2, 2 * (6 + OUTAGE_MS / 1_000));
        expect(process.memoryUsage().heapUsed - heap).to.be.lessThan(100_000_000);
        expect((await app.service.status()).sessions).to.deep.include({ open: STREAMS, closed: {} });

        await rig.server.boot();
        const backSince = Date.now();
        const gaps = await Promise.all(clients.map((client) => client.next(isGap, 10_000)));
        expect(await rig.server.activeChannels()).to.have.length(STREAMS);
        // The limit allows for the longest pause between two attempts, which is 1.5 s.
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
        // The command connection has its own pauses, and reconnects by itself too.
        await eventually(async () => {
          const connections = (await rig.server.connections()).toSorted();
          expect(connections).to.deep.equal(["redis-sse:command", "redis-sse:subscriber"]);
        });
      });
    }

    it("dedicated: ends all streams with a retry delay, and does not reconnect for them", async () => {
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
      // All clients get the delay at once, but the delays differ.
      expect(new Set(clients.map(({ retryMs }) => retryMs)).size).to.be.greaterThan(STREAMS / 4);
      await eventually(async () => {
        expect((await app.service.status()).sessions).to.deep.include({
          open: 0,
          closed: { "redis-lost": STREAMS },
        });
      });
      expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
      // Only status() reconnects, and only the command connection.
      expect(proxy.accepted - tried).to.be.lessThan(20);
      await rig.server.boot();
      await app.openLive("user:0");
    });
  },
  { timeoutMs: 60_000 + 2 * OUTAGE_MS, server: ["--maxclients", "2000"] },
);
