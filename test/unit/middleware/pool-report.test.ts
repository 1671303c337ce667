import { expect } from "chai";

import { createPoolReport } from "../../../middleware/pool-report.js";
import type { StatusReport } from "../../../lib/status/status-report.js";

describe("createPoolReport()", () => {
  it("has the shape of the original debug endpoint", () => {
    const report = createPoolReport(statusReport());
    expect(report.success).to.equal(true);
    expect(report.data.pool).to.deep.include({
      max_connections: 200,
      available_connections: 195,
      in_use_connections: 5,
    });
    expect(report.data.redis_server).to.deep.equal({ connected_clients: 8, max_clients: 100 });
    expect(report.data.pubsub).to.deep.equal({
      active_channels: 2,
      channels: ["notifications:admin", "task_progress:abc123"],
    });
    expect(report).not.to.have.property("error");
  });

  it("adds who waits, the connections by role, and the sessions", () => {
    const { data } = createPoolReport(statusReport());
    expect(data.pool.waiting).to.equal(3);
    expect(data.pool.connections).to.deep.equal({ command: 1, subscriber: 1, lease: 5 });
    expect(data.sessions).to.deep.equal({ open: 2, opened: 9, closed: { drain: 7 }, refused: {} });
  });

  it("tells by its code alone why the server gave no answer", () => {
    const report = createPoolReport({ ...statusReport(), redis: { fault: "REDIS_UNAVAILABLE" } });
    expect(report.success).to.equal(false);
    expect(report.data.redis_server).to.equal(null);
    expect(report.error).to.deep.equal({ code: "REDIS_UNAVAILABLE" });
  });

  it("is a success when the server answered without telling its clients", () => {
    const report = createPoolReport({
      ...statusReport(),
      redis: { connectedClients: null, maxClients: null },
    });
    expect(report.success).to.equal(true);
    expect(report.data.redis_server).to.deep.equal({ connected_clients: null, max_clients: null });
  });

  it("lists at most a thousand channels, and tells how many there are", () => {
    const channels = Array.from({ length: 1_234 }, (_, index) => `c:${index}`);
    const { pubsub } = createPoolReport({ ...statusReport(), channels }).data;
    expect(pubsub.active_channels).to.equal(1_234);
    expect(pubsub.channels).to.deep.equal(channels.slice(0, 1_000));
  });

  it("names no holder of a lease", () => {
    expect(JSON.stringify(createPoolReport(statusReport()))).not.to.contain("session of somebody");
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
    rules: { failed: {} },
    sessions: { open: 2, opened: 9, closed: { drain: 7 }, refused: {} },
    channels: ["notifications:admin", "task_progress:abc123"],
    queues: [],
    redis: { connectedClients: 8, maxClients: 100 },
    nodes: [],
    drift: null,
  };
}
