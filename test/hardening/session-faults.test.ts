import { once } from "node:events";

import { expect } from "chai";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { createUser } from "../support/fault-steps.js";

describeFaults("a session with faulty channels and clients", (rig) => {
  const create = (options: RedisSseOptions = {}): RedisSse =>
    rig.adopt(createRedisSse({ redis: rig.server.url, ...options }));

  it("closes as revoked if Redis refuses its channel while another stream joins", async () => {
    const service = create({ redis: await createUser(rig, "allchannels") });
    const first = await service.open({}, rig.sink(), "x");
    // Revoking the channels closes the connection. The second stream joins while it is down.
    const lost = once(service.pool.subscriber, "close");
    await rig.server.admin.acl("SETUSER", "app", "resetchannels");
    await lost;
    const second = service.open({}, rig.sink(), "x").catch((error: unknown) => error);
    expect(await second).to.have.property("code", "SUBSCRIBE_REFUSED");
    await first.closed;
    expect(first.closeReason).to.equal("revoked");
    expect((await service.status()).hub).to.deep.include({ channels: 0, subscribed: 0 });
  });

  it("does not write buffered events of a removed channel", async () => {
    const service = create();
    const sink = rig.sink();
    const session = await service.open({}, sink, ["x", "y"]);
    sink.takes = false;
    await service.publish("x", { data: "blocks" });
    await eventually(() => expect(sink.text).to.include("blocks"));
    await service.publish("y", { data: "secret" });
    await service.publish("x", { data: "after" });
    await eventually(() => expect(session.statistics.bufferedBytes).to.be.greaterThan(400));
    await session.removeChannel("y");
    sink.drain();
    expect(sink.text).to.include("after").and.to.not.include("secret");
    expect(session.statistics.messagesDropped).to.equal(1);
  });

  it("writes no event after the last event of a completed stream", async () => {
    const service = create();
    const sink = rig.sink();
    const session = await service.open({ until: ({ data }) => data === "last" }, sink, "x");
    sink.takes = false;
    await service.publish("x", { data: "first" });
    await eventually(() => expect(sink.text).to.include("first"));
    for (const data of ["last", "late"]) await service.publish("x", { data });
    await eventually(() => expect(session.statistics.bufferedBytes).to.be.greaterThan(400));
    sink.drain();
    await session.closed;
    const got = sink.events.map(({ data }) => data).slice(1);
    expect(got).to.deep.equal(["first", "last", '{"reason":"completed"}']);
  });

  it("causes no process warning if thirty channels are added at once", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on("warning", onWarning);
    try {
      const session = await create().open({}, rig.sink(), "base");
      await Promise.all(Array.from({ length: 30 }, (_, index) => session.addChannel(`extra:${index}`)));
      expect(session.channels.size).to.equal(31);
    } finally {
      process.off("warning", onWarning);
    }
    expect(warnings).to.deep.equal([]);
  });

  it("closes with client-gone if the client leaves while the sink is attached", async () => {
    const sink = rig.sink();
    const attach = sink.attach.bind(sink);
    sink.attach = (listener) => {
      const detach = attach(listener);
      sink.leave();
      return detach;
    };
    const session = await create().open({}, sink, "x");
    await session.closed;
    expect(session.closeReason).to.equal("client-gone");
    expect(sink.listeners).to.equal(0);
  });

  it("a closed service throws CLOSED for a new queue", async () => {
    const service = create();
    await service.close();
    expect(() => service.queue("late"))
      .to.throw()
      .with.property("code", "CLOSED");
  });
});
