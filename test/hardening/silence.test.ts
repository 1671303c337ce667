import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";

import { expect } from "chai";

import type { RedisSse, RedisSseError, RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { recordingLogger } from "../support/recording-logger.js";
import { faultOf } from "../support/service.js";

describeFaults("the log of a service about Redis", (rig) => {
  const start = (options: RedisSseOptions = {}): { sse: RedisSse; warnings: () => readonly string[] } => {
    const { logger, lines } = recordingLogger();
    const sse = rig.connect({ ...options, logger });
    const warnings = (): readonly string[] => lines.filter((line) => line.startsWith("warn"));
    return { sse, warnings };
  };

  it("reports once that Redis is unavailable, with address and cause, and once that it works again", async () => {
    const port = await freePort();
    const { sse, warnings } = start({ redis: `redis://app:hunter2@127.0.0.1:${port}` });
    for (let attempt = 0; attempt < 3; attempt++) await faultOf(sse.publish("a", { data: 1 }));
    expect(warnings()).to.have.length(1);
    expect(warnings()[0]).to.include(`127.0.0.1:${port}`).and.to.include("ECONNREFUSED");
    expect(warnings()[0]).not.to.include("hunter2");
    const server = await RedisServer.start(rig.program, [], () => Promise.resolve(port));
    try {
      await server.admin.acl("SETUSER", "app", "on", ">hunter2", "~*", "&*", "+@all");
      await eventually(() => sse.publish("a", { data: 1 }));
      await eventually(() => expect(warnings()[1]).to.include("is available again"));
      await sse.close();
      expect(warnings()).to.have.length(2);
    } finally {
      await server.stop();
    }
  });

  it("reports a server that was stopped, but not a connection that was cut and reconnected", async () => {
    const { sse, warnings } = start();
    await sse.publish("a", { data: 1 });
    const [before] = await rig.server.connectionNames();
    await rig.server.admin.call("CLIENT", "KILL", "TYPE", "normal");
    await eventually(async () => expect(await rig.server.connectionNames()).to.deep.equal([before]));
    expect(warnings()).to.deep.equal([]);
    await rig.server.kill();
    await eventually(() => expect(warnings()).to.have.length(1));
  });

  for (const [says, url, expected] of [
    ["the password is wrong", "redis://default:wrong-hunter2@", "refused the credentials (WRONGPASS)"],
    ["a password is needed", "redis://", "requires a password (NOAUTH)"],
  ] as const) {
    it(`reports that ${says}, without printing the password`, async () => {
      await rig.server.admin.config("SET", "requirepass", "right-hunter2");
      const { sse, warnings } = start({ redis: `${url}127.0.0.1:${rig.server.port}` });
      const fault = await faultOf(sse.publish("a", { data: 1 }));
      expect((fault as RedisSseError).code).to.equal("REDIS_AUTH");
      await eventually(() => expect(warnings().join("\n")).to.include(expected));
      expect(warnings().join("\n")).to.include(`127.0.0.1:${rig.server.port}`).and.not.to.include("hunter2");
      expect(warnings()[0]).to.include("Check the user name and the password.");
    });
  }

  it("reports a missing database, and nothing is written to another one", async () => {
    const { sse, warnings } = start({ redis: `${rig.server.url}/99` });
    const fault = await faultOf(sse.publish("a", { data: 1 }));
    expect((fault as RedisSseError).code).to.equal("REDIS_UNAVAILABLE");
    expect(warnings()).to.have.length(1);
    expect(warnings()[0]).to.include("refused database 99");
    expect(await rig.server.admin.keys("*")).to.deep.equal([]);
  });

  it("reports that a connected server is loading its data, and later that it is ready", async () => {
    let isLoading = true;
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket
        .on("error", () => {})
        .on("data", (data) => {
          for (const command of String(data).split(/(?=^\*\d+\r\n)/m)) {
            const isInfo = /\r\ninfo\r\n/i.test(command);
            const info = `loading:${isLoading ? 1 : 0}\r\nloading_eta_seconds:1`;
            socket.write(isInfo ? `$${info.length}\r\n${info}\r\n` : "+OK\r\n");
          }
        });
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    try {
      const { sse, warnings } = start({ redis: { port: (server.address() as AddressInfo).port } });
      await faultOf(sse.publish("a", { data: 1 }));
      expect(warnings()).to.have.length(1);
      expect(warnings()[0]).to.include("loads its data");
      isLoading = false;
      await eventually(() => expect(warnings()[1]).to.include("is available again"));
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });

  it("reports that the server at the port is not Redis", async () => {
    const server = createServer((socket) => socket.resume().end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await once(server.listen(0, "127.0.0.1"), "listening");
    try {
      const { sse, warnings } = start({ redis: { port: (server.address() as AddressInfo).port } });
      const fault = await faultOf(sse.publish("a", { data: 1 }));
      expect((fault as RedisSseError).code).to.equal("REDIS_UNAVAILABLE");
      expect(warnings()[0]).to.include("does not speak the Redis protocol");
    } finally {
      server.close();
    }
  });

  for (const [policy, expected] of [
    ["allkeys-lru", "deletes tasks"],
    ["volatile-ttl", "deletes the history"],
    ["noeviction", null],
  ] as const) {
    it(`${expected === null ? "does not warn about" : "warns about"} the maxmemory-policy ${policy}, which status() reports`, async () => {
      await rig.server.admin.config("SET", "maxmemory-policy", policy);
      const { sse, warnings } = start();
      const { nodes } = await sse.status();
      expect(nodes[0]).to.include({ maxMemoryPolicy: policy });
      if (expected !== null) await eventually(() => expect(warnings()[0]).to.include(expected));
      // The policy was read when the connection was made, so a warning would be there.
      await sse.publish("a", { data: 1 });
      expect(warnings()).to.have.length(expected === null ? 0 : 1);
    });
  }
});
