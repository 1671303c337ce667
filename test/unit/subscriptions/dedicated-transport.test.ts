import { EventEmitter } from "node:events";

import { expect } from "chai";

import type { EventBatch } from "../../../lib/events/event-batch.js";
import type { RedisSseError } from "../../../lib/errors.js";
import { DedicatedTransport, type LeasedConnection } from "../../../lib/subscriptions/dedicated-transport.js";
import { deferred, settle } from "../../support/eventually.js";
import { plainEvent } from "../../support/inbound-events.js";

const closing = (): AbortSignal => new AbortController().signal;

describe("DedicatedTransport", () => {
  let released: number;
  let heard: string[];
  let subscribe: () => Promise<unknown>;
  let client: EventEmitter;

  beforeEach(() => {
    released = 0;
    heard = [];
    subscribe = () => Promise.resolve();
    client = Object.assign(new EventEmitter(), {
      subscribe: () => subscribe(),
      unsubscribe: () => Promise.resolve(),
      quit: () => Promise.resolve(),
    });
  });

  it("releases its connection once if SUBSCRIBE fails and the session is torn down", async () => {
    subscribe = () => Promise.reject(new Error("Connection is closed."));
    const transport = create();
    expect(await faultOf(transport.subscribe(["a"], closing))).to.equal("REDIS_UNAVAILABLE");
    expect(released, "the session still owns it").to.equal(0);
    transport.reset();
    await transport.close();
    transport.reset();
    expect(released).to.equal(1);
    expect(client.eventNames(), "listeners left").to.deep.equal([]);
  });

  it("releases a connection that arrives after the session has closed", async () => {
    const lease = deferred<LeasedConnection>();
    const transport = create(() => lease.promise);
    const fault = faultOf(transport.subscribe(["a"], closing));
    transport.reset();
    lease.resolve(leased());
    expect(await fault).to.equal("ABORTED");
    expect(released).to.equal(1);
    expect(client.eventNames(), "listeners left").to.deep.equal([]);
  });

  it("delivers no events of the current tick after reset()", async () => {
    const transport = create();
    await transport.subscribe(["a"], closing);
    client.emit("message", "a", "1");
    transport.flush();
    client.emit("message", "a", "2");
    transport.reset();
    await settle();
    expect(heard).to.deep.equal(["1"]);
  });

  function create(lease = () => Promise.resolve(leased())): DedicatedTransport {
    const deliver = ({ events }: EventBatch): unknown => heard.push(...events.map(({ data }) => data));
    const listener = { round: 0, deliver, interrupted() {}, refused() {}, lost() {} };
    return new DedicatedTransport({ lease, read: plainEvent, now: () => 0 }, listener);
  }

  function leased(): LeasedConnection {
    return { client, release: () => released++ } as unknown as LeasedConnection;
  }
});

function faultOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => expect.fail("expected a rejection"),
    ({ code }: RedisSseError) => code,
  );
}
