import { expect } from "chai";

import { CallLog } from "../support/call-log.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisSentinel } from "../support/redis-sentinel.js";
import { startStreamApp, type StreamApp } from "../support/stream-app.js";
import { dataOf, gapsOf } from "../support/stream-harness.js";

const HEARTBEAT_MS = 1_000;

/** A frozen master is detected by a PING, sent every heartbeat, without a reply within 5 s. */
const RECOVERY_MS = { kill: 2 * HEARTBEAT_MS, freeze: HEARTBEAT_MS + 5_000 + HEARTBEAT_MS } as const;

describe("a service whose Redis master has Sentinels", function () {
  this.timeout(60_000);
  let rig: RedisSentinel;
  const apps: StreamApp[] = [];
  const loads: CallLog[] = [];

  before(async function () {
    const program = await need("redis", this);
    this.timeout(60_000);
    rig = await RedisSentinel.start(program);
  });

  afterEach(async () => {
    await Promise.all(loads.splice(0).map((load) => load.stop().catch(() => {})));
    await Promise.all(apps.splice(0).map((app) => app.close()));
    await rig.heal();
  });

  after(() => rig?.stop());

  for (const fault of ["kill", "freeze"] as const) {
    it(`publishes events soon after a ${fault} of the master, and loses none`, async () => {
      const channel = `published over a ${fault}`;
      const app = await startStreamApp({ redis: rig.options, heartbeatMs: HEARTBEAT_MS });
      apps.push(app);
      const client = await app.openLive(channel);
      const calls = new CallLog("publish()", (number) =>
        app.service.publish(channel, { data: String(number) }),
      );
      loads.push(calls);
      await calls.more(5);
      const old = await (fault === "kill" ? rig.killMaster() : rig.freezeMaster());
      await rig.untilReplaced(old);
      const replacedAt = performance.now();
      await calls.more(1);
      const tookMs = Math.round(performance.now() - replacedAt);
      await calls.more(5);
      await calls.stop();
      await eventually(
        () => expect(dataOf(client).map(Number)).to.include.members([...calls.resolved]),
        10_000,
      );
      const numbers = dataOf(client).map(Number);
      expect(numbers).to.deep.equal([...new Set(numbers)].toSorted((a, b) => a - b));
      expect(gapsOf(client)).to.deep.equal([]);
      expect(tookMs, "milliseconds from the new master to the next answer").to.be.at.most(RECOVERY_MS[fault]);
    });
  }
});
