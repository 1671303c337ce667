import { endianness } from "node:os";

import { expect } from "chai";

import type { PubSubSession } from "../../../lib/sessions/session.js";
import type { SessionManager } from "../../../lib/sessions/session-manager.js";
import type { Subscriptions } from "../../../lib/subscriptions/subscriptions.js";
import { placeOf } from "../../../lib/peers/tcp-table.js";
import { readOptions } from "../../../lib/options.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { FakeSink } from "../../support/fake-sink.js";
import { ScriptedRedis } from "../../support/scripted-redis.js";
import { createSessionManager } from "../../support/session-manager.js";

const PEER_TIMEOUT_MS = 4_000;

const ENDS = {
  localAddress: "10.99.0.1",
  localPort: 8_081,
  remoteAddress: "10.99.0.2",
  remotePort: 36_292,
} as const;

describe("SessionManager", () => {
  let clock: FakeClock;
  let redis: ScriptedRedis;
  let streams: SessionManager;
  let subscriptions: Subscriptions;
  let sink: FakeSink;
  /** Number of resends in the kernel's TCP table. */
  let times: number;
  let reads: number;
  let destroyed: number;

  beforeEach(() => {
    clock = new FakeClock();
    redis = new ScriptedRedis();
    sink = new FakeSink();
    times = reads = destroyed = 0;
    sink.connection = { ...ENDS, setKeepAlive: () => {}, destroy: () => destroyed++ };
    const { ends } = placeOf(ENDS, endianness() === "LE")!;
    ({ streams, subscriptions } = createSessionManager(redis, {
      clock,
      settings: readOptions({ limits: { peerTimeoutMs: PEER_TIMEOUT_MS }, heartbeatMs: 1_000_000 }),
      // oxlint-disable-next-line typescript/require-await -- the real reader is an async generator
      readTcpTable: async function* () {
        reads++;
        if (times > 0)
          yield `   1: ${ends} 01 00000005:00000000 01:00000126 0000000${times} 0 0 1 2 0 326 0 0 1 -1\n`;
      },
    }));
  });

  afterEach(async () => {
    const closed = streams.closeAll().then(() => subscriptions.close());
    await pass(10_000);
    await closed;
    expect(clock.pending, "timers left").to.equal(0);
  });

  async function pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 500) {
      clock.advance(500);
      redis.answerOne();
      await settle();
    }
  }

  async function open(): Promise<PubSubSession> {
    const opening = streams.open({}, sink, "a");
    await pass(1_000);
    return opening;
  }

  it('closes a stream as "peer-lost" if its client does not answer, and writes nothing to it', async () => {
    const session = await open();
    const { text } = sink;
    times = 1;
    await pass(2_000);
    times = 2;
    await pass(PEER_TIMEOUT_MS);
    expect(session).to.include({ closeReason: "peer-lost", state: "closed" });
    expect(sink).to.include({ text, destroyed: true, ended: false });
    expect(destroyed).to.equal(1);
    expect(streams.statistics).to.deep.include({ open: 0, closed: { "peer-lost": 1 } });
  });

  it("rejects an invalid event of `first` without an answer, before it subscribes or writes", async () => {
    const request = { first: [{ event: "open", data: "" }] };
    const fault = await streams.open(request, sink, "a").catch((error: unknown) => error);
    expect(fault).to.have.property("code", "INVALID_EVENT");
    expect(streams.check(request, "a")).to.have.property("code", "INVALID_EVENT");
    expect(sink).to.include({ answered: null, head: null, listeners: 0, writes: 0 });
    expect(streams.statistics).to.deep.include({ open: 0, opened: 0, refused: { INVALID_EVENT: 1 } });
    expect(streams.channels).to.deep.equal([]);
    expect(subscriptions.statistics.channels).to.equal(0);
  });

  it("watches the connection only until the client disconnects", async () => {
    await open();
    await pass(PEER_TIMEOUT_MS);
    expect(reads).to.be.greaterThan(0);
    sink.leave();
    await pass(1_000);
    const before = reads;
    await pass(5 * PEER_TIMEOUT_MS);
    expect(reads).to.equal(before);
  });
});
