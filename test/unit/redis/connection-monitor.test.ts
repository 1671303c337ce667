import { EventEmitter } from "node:events";

import { expect } from "chai";

import type { RedisClient } from "../../../lib/redis/client.js";
import { ConnectionMonitor } from "../../../lib/redis/connection-monitor.js";
import { FakeClock } from "../../support/fake-clock.js";
import { recordingLog } from "../../support/recording-logger.js";

describe("ConnectionMonitor", () => {
  let clock: FakeClock;
  let said: ReturnType<typeof recordingLog>;

  beforeEach(() => {
    clock = new FakeClock();
    said = recordingLog(clock);
  });

  function watch(options: object): RedisClient {
    const client = Object.assign(new EventEmitter(), { options }) as unknown as RedisClient;
    new ConnectionMonitor(said.log, clock).watch("command", client);
    return client;
  }

  const warnings = (): readonly string[] => said.lines.filter((line) => line.startsWith("warn"));

  for (const message of [
    "All sentinels are unreachable. Retrying from scratch after 10ms.",
    "All sentinels are unreachable. Retrying from scratch after 10ms. Last error: ERR No such master with that name",
  ]) {
    it(`warns that no Sentinel knows the master: ${message.slice(65) || "no last error"}`, () => {
      const client = watch({ name: "wrong", sentinels: [{ host: "s", port: 1 }] });
      client.emit("error", new Error(message));
      expect(warnings()[0]).to.include('master "wrong"').and.to.include("no Sentinel knows a master");
    });
  }

  it("warns that Redis cannot be reached if the Sentinels do not answer", () => {
    const client = watch({ name: "m", sentinels: [{ host: "s", port: 1 }] });
    client.emit("error", new Error("All sentinels are unreachable. Last error: Connection is closed."));
    expect(warnings()[0]).to.include("cannot be reached");
  });

  it("does not report a connection as ready if SELECT failed, but does report the next one", () => {
    const client = watch({ host: "h", db: 99 });
    const answer = {
      name: "ReplyError",
      message: "ERR DB index is out of range",
      command: { name: "select" },
    };
    client.emit("connect");
    client.emit("error", answer);
    client.emit("ready");
    expect(warnings()).to.have.length(1);
    expect(warnings()[0]).to.include("refused database 99");
    for (const event of ["connect", "ready"]) client.emit(event);
    expect(warnings()[1]).to.include("is available again");
  });

  it("hides a password in the host option", () => {
    watch({ host: "redis://app:hunter2@h" }).emit("error", new Error("Connection is closed."));
    expect(warnings()[0]).to.include("***@h").and.not.to.include("hunter2");
  });

  it("warns after one second if a connection closes repeatedly before it is ready", () => {
    const client = watch({});
    for (let time = 0; time < 999; time += 100) {
      client.emit("connect");
      client.emit("close");
      expect(warnings()).to.deep.equal([]);
      clock.advance(100);
    }
    expect(warnings()).to.have.length(1);
    expect(warnings()[0]).to.include("was closed");
  });

  it("keeps no timer and does not warn after a connection is ready or has ended", () => {
    for (const event of ["ready", "end"]) {
      const client = watch({});
      for (const before of ["connect", "close"]) client.emit(before);
      client.emit(event);
      expect(clock.pending).to.equal(0);
    }
    clock.advance(60_000);
    expect(warnings()).to.deep.equal([]);
  });
});
