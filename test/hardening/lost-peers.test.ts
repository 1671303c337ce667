import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import type { RedisSseOptions } from "../../lib/index.js";
import { eventually, repeat } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { SERVER, TestNetwork, type Address } from "../support/test-network.js";
import type { AppOrder, AppReport, ClientOrder, ClientReport, Way } from "./lost-peers-protocol.js";

const scriptOf = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

/** Redis listens on a Unix socket, which every network namespace can reach. */
const SOCKET = join(tmpdir(), `redis-sse-lost-peers-${process.pid}.sock`);

const PEER_TIMEOUT_MS = 2_000;

/** The timeout of each wait, for a busy machine. */
const PATIENCE_MS = 25_000;

describeFaults("the connection of a stream", (rig) => {
  before(function () {
    if (process.platform !== "linux") this.skip();
  });

  const timersOf = ({ url }: { readonly url: string }): Promise<readonly string[]> =>
    readTimers("self", new RegExp(`^\\w+:${Number(new URL(url).port).toString(16).toUpperCase()} `));

  it("has TCP keepalive, so that the kernel detects a dead connection", async () => {
    const app = await rig.start();
    await app.openLive("a");
    await eventually(async () => expect(await timersOf(app.app)).to.deep.equal(["02"]));
  });

  it("has no TCP keepalive if peerTimeoutMs is Infinity", async () => {
    const app = await rig.start({ limits: { peerTimeoutMs: Infinity } });
    await app.openLive("a");
    await eventually(async () => expect(await timersOf(app.app)).to.deep.equal(["00"]));
  });
});

describeFaults(
  "a lost client",
  (rig) => {
    let network: TestNetwork;
    let healthy: ChildProcess;

    before(function () {
      return TestNetwork.need(this);
    });
    after(() => rm(SOCKET, { force: true }));

    /** Starts an app, clients whose network can be cut, and clients in the app's network. */
    async function start(options: RedisSseOptions = {}): Promise<void> {
      network = new TestNetwork();
      rig.undo(() => network.stop());
      const settings: RedisSseOptions = {
        redis: { path: SOCKET },
        limits: { peerTimeoutMs: PEER_TIMEOUT_MS, maxStallMs: 120_000, maxBufferedBytes: 64 * 1024 * 1024 },
        ...options,
      };
      const client = [scriptOf("lost-peers-client")] as const;
      await network.start([scriptOf("lost-peers-app"), JSON.stringify(settings)], client);
      healthy = await network.startBesideServer(client);
    }

    const report = (): Promise<AppReport> => ask(network.server, "report");

    /** Opens a stream from an address that the test can remove, and waits until it is live. */
    async function open(name: string, from: Address = "10.99.0.2", way: Way = "ipv4"): Promise<void> {
      const host = from.includes(":") ? SERVER.ipv6 : SERVER.ipv4;
      network.client.send({ order: "open", name, way, host, from } satisfies ClientOrder);
      await untilReceived(name, "connected");
    }

    async function openHealthy(): Promise<void> {
      const [host, from] = ["127.0.0.1", "127.0.0.1"];
      healthy.send({ order: "open", name: "healthy", way: "ipv4", host, from } satisfies ClientOrder);
      await untilReceived("healthy", "connected", healthy);
    }

    /** The timers of connections to the first address. */
    const timers = (): Promise<readonly string[]> => readTimers(network.server.pid!, / 0200630A:/);

    /** Waits for an event by its name or its data. */
    async function untilReceived(name: string, wanted: string, by = network.client): Promise<void> {
      await eventually(async () => {
        const { [name]: events = [] } = await ask<ClientReport>(by, { order: "report" });
        expect(events.flatMap(({ event, data }) => [event, data])).to.include(wanted);
      }, PATIENCE_MS);
    }

    async function untilLost(names: readonly string[], alive = 1): Promise<void> {
      await eventually(async () => {
        const { reasons, sessions, connections } = await report();
        expect(reasons).to.deep.equal(Object.fromEntries(names.map((name) => [name, "peer-lost"])));
        expect(sessions).to.deep.include({ open: alive, closed: { "peer-lost": names.length } });
        expect(connections, "sockets").to.equal(alive);
      }, PATIENCE_MS);
    }

    /** Ends the app with its open streams, and expects its process to exit by itself. */
    async function expectEnd(): Promise<void> {
      const exited = once(network.server, "exit");
      network.server.send("end" satisfies AppOrder);
      expect(await exited).to.deep.equal([0, null]);
      expect(await rig.server.connections()).to.deep.equal([]);
    }

    const publish = (data: string): Promise<unknown> => rig.server.admin.publish("a", data);

    it("ends its stream with peer-lost while events are sent, without effect on other streams", async () => {
      await start();
      await openHealthy();
      await open("gone");
      await network.takeAway("10.99.0.2");
      let count = 0;
      const publisher = repeat(async () => {
        await publish(`event ${++count}`);
        await untilReceived("healthy", `event ${count}`, healthy);
      });
      rig.undo(() => publisher.stop());
      await untilLost(["gone"]);
      await publisher.stop();
      await publish("after all that");
      await untilReceived("healthy", "after all that", healthy);
      await expectEnd();
    });

    it("ends all streams of its connection over IPv4, IPv6, TLS and HTTP/2", async () => {
      await start();
      await openHealthy();
      await open("IPv4");
      await open("IPv6", "fd99::2", "both");
      await open("both", "10.99.0.2", "both");
      await open("TLS", "10.99.0.2", "tls");
      await open("HTTP/2", "10.99.0.2", "http2");
      await open("beside it", "10.99.0.2", "http2");
      expect((await report()).connections).to.equal(6);
      await Promise.all([network.takeAway("10.99.0.2"), network.takeAway("fd99::2")]);
      await publish("the last");
      await untilLost(["IPv4", "IPv6", "both", "TLS", "HTTP/2", "beside it"]);
      await expectEnd();
    });

    it("is detected by TCP keepalive while no events are sent, also over TLS and HTTP/2", async () => {
      await start({ heartbeatMs: 60_000 });
      await openHealthy();
      await open("gone");
      await open("TLS", "10.99.0.2", "tls");
      await open("HTTP/2", "10.99.0.2", "http2");
      // The last write was acknowledged.
      await eventually(async () => expect(await timers()).to.deep.equal(["02", "02", "02"]));
      await network.takeAway("10.99.0.2");
      await untilLost(["gone", "TLS", "HTTP/2"]);
      await publish("after all that");
      await untilReceived("healthy", "after all that", healthy);
      await expectEnd();
    });

    it("keeps its stream and gets all events if its network returns in time", async () => {
      await start({ limits: { peerTimeoutMs: 2 * PEER_TIMEOUT_MS } });
      await open("back");
      await open("gone", "10.99.0.3");
      await Promise.all([network.takeAway("10.99.0.2"), network.takeAway("10.99.0.3")]);
      await publish("meanwhile");
      await network.restore("10.99.0.2");
      await untilReceived("back", "meanwhile");
      // Now this client would have been lost too.
      await untilLost(["gone"]);
      await publish("still here");
      await untilReceived("back", "still here");
      await expectEnd();
    });

    it("is distinguished from a client that does not read, which is also detected when it is lost", async () => {
      await start();
      await open("slow");
      await open("gone", "10.99.0.3");
      network.client.send({ order: "pause", name: "slow" } satisfies ClientOrder);
      await network.takeAway("10.99.0.3");
      await eventually(async () => {
        await publish("x".repeat(10_000));
        expect(await timers()).to.deep.equal(["04"]);
      }, PATIENCE_MS);
      await untilLost(["gone"]);
      await network.takeAway("10.99.0.2");
      await untilLost(["gone", "slow"], 0);
      await expectEnd();
    });
  },
  { server: ["--unixsocket", SOCKET], timeoutMs: 60_000 },
);

/**
 * The kernel's timers for the established connections in the network of a process, filtered by their addresses as
 * /proc shows them (lowest byte first). 00 is no timer, 02 is keepalive, 04 is a zero-window probe.
 */
async function readTimers(process: number | "self", ends: RegExp): Promise<readonly string[]> {
  const table = await readFile(`/proc/${process}/net/tcp`, "latin1");
  return [...table.matchAll(/^ *\d+: (\w+:\w+ \w+:\w+) 01 \w+:\w+ (..):/gm)]
    .filter(([, found]) => ends.test(found!))
    .map(([, , timer]) => timer!);
}

/** Sends an order to a process and waits for its reply. Rejects if the process exits. */
function ask<Answer>(child: ChildProcess, order: AppOrder | ClientOrder): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const finish = (how: () => void): void => {
      child.off("message", onMessage);
      child.off("exit", onExit);
      how();
    };
    const onMessage = (answer: Answer): void => finish(() => resolve(answer));
    const onExit = (): void => finish(() => reject(new Error("the process has ended")));
    child.on("message", onMessage);
    child.on("exit", onExit);
    child.send(order, (error) => error && finish(() => reject(error)));
  });
}
