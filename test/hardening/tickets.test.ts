import { expect } from "chai";

import { RELEASE } from "../../lib/tickets/lua/generated.js";
import { eventually } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { describeFaults } from "../support/fault-rig.js";
import { hastyClock } from "../support/hasty-clock.js";
import { captureLog } from "../support/service.js";

describeFaults("tickets in a real Redis", (rig) => {
  it("expire also if an ACL rule denies each command that sets an expiry or deletes a key", async () => {
    const rules = ["on", ">secret", "allkeys", "allchannels", "+@all"];
    for (const command of ["pexpire", "expire", "pexpireat", "expireat", "del", "unlink", "hdel"])
      rules.push(`-${command}`);
    await rig.server.admin.call("ACL", "SETUSER", "app", ...rules);
    const redis = { host: "127.0.0.1", port: rig.server.port, username: "app", password: "secret" };
    await rig
      .connect({ redis })
      .tickets.issue({ channels: "a", ttlMs: 1_000 })
      .catch(() => {});
    const ttls = await Promise.all(
      (await rig.server.admin.keys("*")).map((key) => rig.server.admin.pttl(key)),
    );
    for (const each of ttls) expect(each).to.be.within(1, 1_000);
  });

  it("take effect once if the reply of Redis is lost and the command is sent again", async () => {
    const proxy = await rig.proxy();
    const service = rig.connect({ redis: proxy.url });
    const access = await service.tickets.access(await service.tickets.issue({ channels: "a" }));
    // Creates both connections, so that the lost reply is the one for the ticket.
    await service.open({}, rig.sink(), "a");
    const sink = rig.sink();
    proxy.cutAtReply();
    await service.open({}, sink, access);
    expect(proxy.cutPending).to.equal(false);
    expect(sink.text).to.include("event: connected");
  });

  it("are unused again after a failed start, also if Redis has forgotten the script that takes them", async () => {
    const service = rig.connect();
    /** Opens a stream whose client leaves at once. Resolves when its ticket was taken and is unused again. */
    async function enterAndLeave(): Promise<void> {
      const ticket = await service.tickets.issue({ channels: "a" });
      const access = await service.tickets.access(ticket);
      const writes = await rig.server.callsOf("set");
      const sink = rig.sink();
      const opening = service.open({}, sink, access);
      sink.leave();
      await opening;
      await eventually(async () => expect(await rig.server.callsOf("set")).to.equal(writes + 2));
      const [key] = await rig.server.admin.keys("sse:ticket:*");
      expect(await rig.server.admin.get(key!)).to.match(/^0 - - /);
      await rig.server.admin.del(key!);
    }
    // After the first time, the service sends only the SHA of both scripts.
    await enterAndLeave();
    // It must send the text of the one script again. The release must not overtake it.
    await rig.server.admin.script("FLUSH");
    await rig.server.admin.script("LOAD", RELEASE);
    await enterAndLeave();
  });

  it("end without harm to the open stream if Redis loses them", async () => {
    const service = rig.connect({ clock: hastyClock });
    const ticket = await service.tickets.issue({ channels: "a" });
    const sink = rig.sink();
    const session = await service.open({}, sink, await service.tickets.access(ticket));
    const calls = await rig.server.callsOf("get");
    await rig.server.admin.flushall();
    await eventually(async () => expect(await rig.server.callsOf("get")).to.be.above(calls));
    await service.publish("a", { data: "after" });
    await eventually(() => expect(sink.text).to.include("after"));
    expect(session.state).to.equal("subscribed");
    expect(await rig.server.admin.keys("sse:ticket:*")).to.deep.equal([]);
  });

  it("appear in no debug output of this library and of ioredis", async () => {
    const log = captureLog("redis-sse:*,ioredis:*");
    try {
      const service = rig.connect();
      const ticket = await service.tickets.issue({ channels: "a" });
      const sink = new FakeSink();
      const session = await service.open({}, sink, await service.tickets.access(ticket));
      const token = /~([\w-]+)\n/.exec(sink.text)![1]!;
      sink.leave();
      await session.closed;
      await service.close();
      const text = log.lines.join("\n");
      expect(text).to.include("sse:ticket:");
      expect(text).not.to.include(ticket).and.not.to.include(token);
    } finally {
      log.restore();
    }
  });
});
