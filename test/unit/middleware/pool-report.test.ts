import { expect } from "chai";

import { createPoolReport } from "../../../middleware/pool-report.js";
import type { StatusReport } from "../../../lib/status/status-report.js";

describe("createPoolReport()", () => {
  it("keeps the format of the original debug endpoint, adds waiting, roles and sessions, and names no holder", () => {
    const report = createPoolReport(statusReport());
    expect(report).to.deep.equal({
      success: true,
      data: {
        pool: {
          max_connections: 200,
          available_connections: 195,
          in_use_connections: 5,
          waiting: 3,
          overdue: 1,
          connections: { command: 1, subscriber: 1, lease: 5 },
        },
        redis_server: { connected_clients: 8, max_clients: 100 },
        pubsub: { active_channels: 2, channels: ["notifications:admin", "task_progress:abc123"] },
        sessions: { open: 2, opened: 9, closed: { drain: 7 }, refused: {} },
        instance: "web-1",
        drift: null,
      },
    });
  });

  it("reports only the error code if Redis does not answer", () => {
    const report = createPoolReport({ ...statusReport(), redis: { fault: "REDIS_UNAVAILABLE" } });
    expect(report).to.deep.include({ success: false, error: { code: "REDIS_UNAVAILABLE" } });
    expect(report.data.redis_server).to.equal(null);
  });

  it("reports success if Redis answers without its number of clients", () => {
    const report = createPoolReport({
      ...statusReport(),
      redis: { connectedClients: null, maxClients: null },
    });
    expect(report.success).to.equal(true);
    expect(report.data.redis_server).to.deep.equal({ connected_clients: null, max_clients: null });
  });

  it("lists at most 1,000 channels and reports the total number", () => {
    const channels = Array.from({ length: 1_234 }, (_, index) => `c:${index}`);
    const { pubsub } = createPoolReport({ ...statusReport(), channels }).data;
    expect(pubsub.active_channels).to.equal(1_234);
    expect(pubsub.channels).to.deep.equal(channels.slice(0, 1_000));
  });
});

function statusReport(): StatusReport {
  return {
    instance: "web-1",
    state: "open",
    subscriptions: "dedicated",
    pool: {
      maxConnections: 200,
      available: 195,
      inUse: 5,
      waiting: 3,
      connections: { command: 1, subscriber: 1, lease: 5 },
      leases: [{ holder: "session of somebody", ageMs: 1, overdue: false }],
      overdue: 1,
    },
    hub: { connected: true, channels: 0, subscribed: 0, dropped: 0, memberFaults: 0 },
    history: { reads: 0, shared: 0, gaps: {} },
    buffers: { bytes: 0, exceeded: 0, dropped: 0 },
    notifications: { unreadable: 0 },
    rules: { failed: {} },
    revocations: { applied: 0, blocked: 0 },
    sessions: { open: 2, opened: 9, closed: { drain: 7 }, refused: {} },
    channels: ["notifications:admin", "task_progress:abc123"],
    queues: [],
    redis: { connectedClients: 8, maxClients: 100 },
    nodes: [],
    drift: null,
  };
}
