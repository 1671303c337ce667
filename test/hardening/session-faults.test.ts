import { once } from "node:events";
import { connect } from "node:net";

import { expect } from "chai";
import { Redis } from "ioredis";

import { createRedisSse, RedisSseError, type PubSubSession, type RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { TcpProxy } from "../support/tcp-proxy.js";

describeFaults("faults between a session, its channels and its client", (rig) => {
  function create(options: Parameters<typeof createRedisSse>[0] = {}): RedisSse {
    return rig.adopt(createRedisSse({ redis: rig.server.url, ...options }));
  }

  it("a live stream is told when its channel is refused while another stream joins it", async () => {
    await rig.server.admin.acl("SETUSER", "app", "on", ">pw", "allcommands", "allkeys", "allchannels");
    const service = create({ redis: `redis://app:pw@127.0.0.1:${rig.server.port}` });
    const live = rig.sink();
    const first = await service.open({}, live, "x");
    // Taking the channels away cuts the connection; the second stream joins while it is down.
    const lost = once(service.pool.subscriber, "close");
    await rig.server.admin.acl("SETUSER", "app", "resetchannels");
    await lost;
    const second = service.open({}, rig.sink(), "x").catch((error: unknown) => error);
    expect(await second).to.have.property("code", "SUBSCRIBE_REFUSED");
    await first.closed;
    expect(first.closeReason).to.equal("revoked");
    expect((await service.status()).hub).to.deep.include({ channels: 0, subscribed: 0 });
  });

  it("a client that reads nothing is dropped at the deadline when its stream is closed", async () => {
    const opened: PubSubSession[] = [];
    const options = {
      limits: { closeTimeoutMs: 200, maxBufferedBytes: 32 * 1024 * 1024 },
    };
    const { service, app } = await rig.start(options, {
      onOpen: (session) => void opened.push(session),
    });
    const socket = connect(Number(new URL(app.url).port), "127.0.0.1");
    socket.on("error", () => {});
    socket.pause();
    socket.write("GET /stream?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => expect(opened).to.have.length(1));
    const event = "x".repeat(100_000);
    for (let count = 0; count < 100; count++) await service.publish("a", { data: event });
    await eventually(() => expect(opened[0]!.statistics.bufferedBytes).to.be.greaterThan(1_000_000));
    await opened[0]!.close();
    const connections = await new Promise<number>((resolve) =>
      app.server.getConnections((_, count) => resolve(count)),
    );
    expect(connections).to.equal(0);
    socket.destroy();
  });

  it("an event of a channel that was taken away is not written, even if it waited", async () => {
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

  it("nothing follows the last event of a completed stream", async () => {
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
    expect(sink.events.map(({ data }) => data).slice(1)).to.deep.equal([
      "first",
      "last",
      '{"reason":"completed"}',
    ]);
  });

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: a channel that is added, taken away and added again is heard`, async () => {
      const service = create({ subscriptions, limits: { subscribeTimeoutMs: 400 } });
      const sink = rig.sink();
      const session = await service.open({}, sink, "base");
      await rig.server.admin.client("PAUSE", 700, "ALL");
      const first = session.addChannel("t").catch((error: unknown) => error);
      await session.removeChannel("t").catch(() => {});
      const second = session.addChannel("t").then(
        () => null,
        (error: unknown) => error,
      );
      expect(await first).to.have.property("code", "ABORTED");
      // The pause may outlast this one's deadline as well.
      if ((await second) !== null) await eventually(() => session.addChannel("t"));
      await eventually(async () => expect(await rig.server.receiversOf("t")).to.equal(1));
      await rig.server.admin.publish("t", "heard");
      await eventually(() => expect(sink.text).to.include("heard"));
    });

    it(`${subscriptions}: a frozen link is noticed`, async () => {
      const proxy = await rig.proxy();
      try {
        const service = create({ subscriptions, redis: proxy.url, heartbeatMs: 200 });
        const sink = rig.sink();
        const session = await service.open({}, sink, "a");
        proxy.hold();
        if (subscriptions === "dedicated") {
          await session.closed;
          expect(session.closeReason).to.equal("redis-lost");
          expect(service.pool.statistics.inUse).to.equal(0);
        } else {
          await eventually(() => expect(proxy.accepted).to.be.greaterThan(1), 20_000);
        }
      } finally {
        proxy.release();
      }
    }).timeout(30_000);
  }

  it("thirty channels that are added at once warn of nothing", async () => {
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

  it("an app's client cannot change how the library's connections behave", async () => {
    const own = new Redis(rig.server.url, {
      stringNumbers: true,
      reconnectOnError: () => 2,
      keyPrefix: "app:",
    });
    try {
      const service = create({ redis: own });
      const { receivers } = await service.publish("nobody", { data: 1 });
      expect(receivers).to.equal(0);
      const queue = service.queue("own");
      const { id } = await queue.enqueue("a", null);
      expect(await queue.get(id)).to.have.property("status", "queued");
      expect(await rig.server.admin.exists(`sse:task:{tasks}:${id}`)).to.equal(1);
    } finally {
      own.disconnect();
    }
  });

  it("nor can the parameters of a URL", async () => {
    const service = create({
      redis: `${rig.server.url}?keyPrefix=evil:&connectionName=evil&commandTimeout=1`,
    });
    await service.notifications.create({ userId: "u", title: "t" });
    expect(await rig.server.admin.exists("sse:inbox:u")).to.equal(1);
    expect(await rig.server.connections()).to.deep.equal(["redis-sse:command"]);
  });

  it("a request with timing that cannot be has its answer, and opens nothing", async () => {
    const service = create();
    for (const request of [{ retryMs: 0.5 }, { heartbeatMs: NaN }]) {
      const sink = rig.sink();
      const fault: unknown = await service.open(request, sink, "x").catch((error: unknown) => error);
      expect(fault).to.be.instanceOf(RedisSseError).with.property("code", "CONFIG");
      expect(sink.answered?.status).to.equal(500);
    }
    expect((await service.status()).sessions).to.deep.include({ open: 0, opened: 0 });
  });

  it("a sink whose client is gone at once is no trouble", async () => {
    const service = create();
    const sink = rig.sink();
    const attach = sink.attach.bind(sink);
    sink.attach = (listener) => {
      const detach = attach(listener);
      sink.leave();
      return detach;
    };
    const session = await service.open({}, sink, "x");
    await session.closed;
    expect(session.closeReason).to.equal("client-gone");
    expect(sink.listeners).to.equal(0);
  });

  it("a service that is closed makes no queue", async () => {
    const service = create();
    await service.close();
    expect(() => service.queue("late"))
      .to.throw()
      .with.property("code", "CLOSED");
  });
});

describeFaults("replies of Redis that are lost on the way", (rig) => {
  async function startOver(proxy: TcpProxy): Promise<RedisSse> {
    const service = rig.adopt(createRedisSse({ redis: proxy.url }));
    await service.pool.incrementWithTtl("warm");
    return service;
  }

  it("a task is enqueued once, and its caller told so", async () => {
    const proxy = await rig.proxy();
    const service = await startOver(proxy);
    const queue = service.queue("q");
    await queue.enqueue("warm", null);
    proxy.cutAtReply();
    const task = await queue.enqueue("once", { a: 1 });
    expect(proxy.cutPending).to.equal(false);
    expect(await queue.get(task.id)).to.deep.include({ status: "queued", kind: "once" });
    expect(await rig.server.admin.zcard("sse:queue:{tasks}:q:ready")).to.equal(2);
  });

  it("a notification is stored once", async () => {
    const proxy = await rig.proxy();
    const service = await startOver(proxy);
    await service.notifications.create({ userId: "ann", title: "warm" });
    proxy.cutAtReply();
    const id = await service.notifications.create({ userId: "ann", title: "once" });
    expect(proxy.cutPending).to.equal(false);
    const list = await service.notifications.list("ann");
    expect(list.map(({ title }) => title)).to.deep.equal(["once", "warm"]);
    expect(list[0]).to.have.property("id", id);
  });
});
