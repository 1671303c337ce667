import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { endianness } from "node:os";

import { expect } from "chai";

import {
  hasLostPeer,
  DeadPeerDetector,
  type ReadTcpTable,
  type SinkConnection,
} from "../../../lib/peers/dead-peer-detector.js";
import { placeOf } from "../../../lib/peers/tcp-table.js";
import { readTcpTable } from "../../../lib/peers/proc-net.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { captureLog, faultOf } from "../../support/service.js";

const TIMEOUT_MS = 8_000;

/** In this time the detector reads the table at least once, even with the largest random delay. */
const PERIOD_MS = (TIMEOUT_MS / 4) * 1.25;

describe("DeadPeerDetector", () => {
  let clock: FakeClock;
  let table: ScriptedTable;
  let watch: DeadPeerDetector<Stream>;
  let peer: FakeConnection;
  let lost: string[];
  let log: ReturnType<typeof captureLog>;

  beforeEach(() => {
    clock = new FakeClock();
    table = new ScriptedTable(clock);
    watch = create();
    peer = new FakeConnection(40_000);
    lost = [];
    log = captureLog("redis-sse:session");
  });

  afterEach(async () => {
    log.restore();
    watch.stop();
    await settle();
    expect(clock.pending, "timers left").to.equal(0);
  });

  function create(timeoutMs = TIMEOUT_MS, read: ReadTcpTable | null = table.read): DeadPeerDetector<Stream> {
    const onLost = ({ name }: Stream): void => void lost.push(name);
    return new DeadPeerDetector({ clock, timeoutMs, read, littleEndian: true, onLost });
  }

  /** Returns a function that ends the stream. */
  function add(connection: SinkConnection = peer, name = "a"): () => void {
    const stream = { name };
    watch.add(stream, connection);
    return () => watch.remove(stream);
  }

  /** Advances the clock in steps that are shorter than the pause between two reads. */
  async function pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 100) {
      clock.advance(Math.min(100, milliseconds - passed));
      await settle(2);
    }
  }

  /** The peer stops answering: the kernel resends its data at growing intervals. */
  async function vanish(connection = peer, forMs = TIMEOUT_MS + 2 * PERIOD_MS): Promise<void> {
    for (let passed = 0, again = 1; passed < forMs; passed += 1_000) {
      if (passed >= 1_000 * 2 ** (again - 2)) table.set(connection, { timer: "01", retransmits: again++ });
      await pass(1_000);
    }
  }

  it("reports a peer that does not acknowledge data within the timeout", async () => {
    add();
    await vanish(peer, TIMEOUT_MS);
    expect(lost).to.deep.equal([]);
    // The first resend is after one second.
    await pass(1_100 + PERIOD_MS);
    expect(lost).to.deep.equal(["a"]);
    expect(peer.destroyed).to.equal(1);
    expect(log.lines.join("\n")).to.match(/\[SSE\] lost client: no answer to data after \d+ retransmissions/);
  });

  it("reports a peer with a full receive window that stops answering probes", async () => {
    add();
    table.set(peer, { timer: "04", probes: 1 });
    await pass(2 * PERIOD_MS);
    table.set(peer, { timer: "04", probes: 2 });
    await pass(TIMEOUT_MS);
    expect(lost).to.deep.equal(["a"]);
  });

  describe("live connections", () => {
    afterEach(() => {
      expect(lost).to.deep.equal([]);
      expect(peer.destroyed).to.equal(0);
    });

    for (const [says, ...steps] of [
      ["whose data is in flight", [{ timer: "01", retransmits: 0, queued: 100 }, 5 * TIMEOUT_MS]],
      [
        "with a full receive window that answers probes",
        [{ timer: "04", probes: 0, queued: 100_000 }, 5 * TIMEOUT_MS],
      ],
      [
        "on a bad line: each read finds one resend, but the count does not grow",
        [{ timer: "01", retransmits: 1 }, 5 * TIMEOUT_MS],
      ],
      [
        "that has room again and then loses the next data",
        [{ timer: "04", probes: 1 }, TIMEOUT_MS - PERIOD_MS],
        [{ timer: "01", retransmits: 2 }, TIMEOUT_MS - PERIOD_MS],
      ],
      [
        "that answers between two reads",
        [{ timer: "01", retransmits: 3 }, PERIOD_MS],
        [{ timer: "01", retransmits: 1 }, PERIOD_MS],
        [{ timer: "01", retransmits: 4 }, TIMEOUT_MS - PERIOD_MS],
      ],
    ] as readonly [string, ...(readonly [Line, number])[]][]) {
      it(`does not report a peer ${says}`, async () => {
        add();
        for (const [line, forMs] of steps) {
          table.set(peer, line);
          await pass(forMs);
        }
      });
    }

    it("does not report a peer that answers before the timeout", async () => {
      add();
      for (let times = 0; times < 5; times++) {
        await vanish(peer, TIMEOUT_MS - PERIOD_MS);
        table.set(peer, { timer: "01", retransmits: 0 });
        await pass(PERIOD_MS);
      }
    });

    for (const [says, linesOf] of [
      [
        "its queue is shorter than before",
        (step: number) => ({ retransmits: 50 * step, queued: 1_000 - 50 * step }),
      ],
      [
        "its number of resends is lower than before",
        (step: number) => ({ retransmits: 20 - step, queued: 9_000 + step }),
      ],
    ] as const) {
      it(`does not report a peer that answers between two reads: ${says}`, async () => {
        add();
        for (let step = 1; step < 20; step++) {
          table.set(peer, { timer: "01", ...linesOf(step) });
          await pass(PERIOD_MS);
        }
      });
    }

    for (const [says, isOver] of [
      ["after the first one has ended", true],
      ["while the first one is still ending", false],
    ] as const) {
      it(`does not report a new connection with the same addresses and ports ${says}`, async () => {
        const remove = add();
        await vanish(peer, TIMEOUT_MS - PERIOD_MS);
        if (isOver) remove();
        add();
        table.set(peer, { timer: "01", retransmits: 8, inode: 2 });
        await pass(TIMEOUT_MS - PERIOD_MS);
      });
    }

    it("does not report a connection whose streams have all ended", async () => {
      const removes = [add(), add()];
      await vanish(peer, TIMEOUT_MS - PERIOD_MS);
      for (const remove of removes) remove();
      await vanish();
    });

    it("does not report a connection whose streams end while the table is being read", async () => {
      const remove = add();
      table.set(peer, { timer: "01", retransmits: 1 });
      await pass(TIMEOUT_MS + PERIOD_MS);
      table.set(peer, { timer: "01", retransmits: 2 });
      table.hangsAtEnd = true;
      await pass(PERIOD_MS);
      remove();
      table.hangsAtEnd = false;
      table.wake();
      await pass(PERIOD_MS);
    });

    it("does not report any peer after a long pause without reads, because the peers may have answered", async () => {
      add();
      await vanish(peer, TIMEOUT_MS - PERIOD_MS);
      table.set(peer, { timer: "01", retransmits: 20 });
      clock.advance(10 * TIMEOUT_MS); // The whole process was suspended.
      await settle();
      await pass(TIMEOUT_MS - PERIOD_MS);
    });
  });

  it("ends all streams of a lost connection and destroys it", async () => {
    add(peer, "a");
    add(peer, "b");
    const remove = add(peer, "c");
    remove();
    await vanish();
    expect(lost).to.deep.equal(["a", "b"]);
    expect(peer.destroyed).to.be.greaterThan(0);
  });

  it("finds IPv6 connections in the tcp6 table and reads only tables with watched connections", async () => {
    const peer6 = new FakeConnection(40_000, "::ffff:10.99.0.2");
    add(peer6);
    await vanish(peer6);
    expect(lost).to.deep.equal(["a"]);
    expect(new Set(table.names)).to.deep.equal(new Set(["tcp6"]));
  });

  describe("if the table cannot be read", () => {
    it("drops no connection and tries again", async () => {
      add();
      await vanish(peer, TIMEOUT_MS - PERIOD_MS);
      table.fault = new Error("EMFILE: too many open files");
      await pass(PERIOD_MS);
      expect(log.lines.join("\n")).to.match(/cannot check for lost clients: /);
      table.fault = null;
      await pass(PERIOD_MS);
      table.set(peer, { timer: "01", retransmits: 20 });
      await pass(PERIOD_MS);
      expect(lost, "the timeout starts at the first successful read").to.deep.equal([]);
      table.set(peer, { timer: "01", retransmits: 21 });
      await pass(TIMEOUT_MS);
      expect(lost).to.deep.equal(["a"]);
    });

    it("starts no second read while the first one hangs, and can be stopped", async () => {
      add();
      table.hangs = true;
      await pass(5 * TIMEOUT_MS);
      expect(table.reads).to.equal(1);
      watch.stop();
      await settle();
      expect(clock.pending).to.equal(0);
    });

    it("continues after a read that hung", async () => {
      add();
      table.hangs = true;
      await pass(5 * TIMEOUT_MS);
      table.hangs = false;
      table.wake();
      // The slow read makes the detector wait longer before the next one.
      await pass(1.25 * 60_000);
      await vanish();
      expect(lost).to.deep.equal(["a"]);
    });
  });

  describe("stop()", () => {
    it("stops during a read and drops no connection afterwards", async () => {
      add();
      await vanish(peer, TIMEOUT_MS - 100);
      table.set(peer, { timer: "01", retransmits: 20 });
      table.hangs = true;
      await pass(PERIOD_MS);
      const { reads } = table;
      watch.stop();
      table.wake();
      await pass(5 * TIMEOUT_MS);
      expect(table.reads).to.equal(reads);
      expect(lost).to.deep.equal([]);
    });
  });

  it("reads the table four times per timeout, and only while it watches a connection", async () => {
    add()();
    await pass(TIMEOUT_MS);
    expect(table.reads).to.equal(0);
    add();
    await pass(10 * TIMEOUT_MS);
    expect(table.reads).to.be.within(31, 53);
  });

  it("spends at most a twentieth of the time on reads, even if they are slow", async () => {
    add();
    table.takesMs = 500;
    await pass(20 * TIMEOUT_MS);
    expect(table.reads).to.be.within(10, 16);
  });

  describe("TCP keepalive", () => {
    it("starts before the timeout ends, within the limits of the operating system", () => {
      for (const [timeoutMs, delayMs] of [
        [60_000, 50_000],
        [12_000, 2_000],
        [1_000, 1_000],
        [2 ** 31 - 1, 7_200_000],
      ] as const) {
        watch = create(timeoutMs);
        add();
        watch.stop();
        expect(peer.delays.at(-1)).to.equal(delayMs);
      }
    });

    it("is the only check if the operating system has no TCP tables", async () => {
      watch = create(TIMEOUT_MS, null);
      add()();
      add();
      add({ setKeepAlive: () => {}, destroy: () => {} })();
      await pass(5 * TIMEOUT_MS);
      expect(peer.delays).to.have.length(2);
      expect(clock.pending).to.equal(0);
    });

    it("may fail without stopping the detector", async () => {
      peer.refuses = true;
      add();
      await vanish();
      expect(lost).to.deep.equal(["a"]);
    });
  });

  it("does nothing if the timeout is Infinity or the connection is missing", async () => {
    watch.add({ name: "a" }, undefined);
    watch.add({ name: "a" }, null);
    watch = create(Infinity);
    add();
    await pass(TIMEOUT_MS);
    expect(peer.delays).to.deep.equal([]);
    expect(clock.pending).to.equal(0);
  });
});

describe("hasLostPeer()", () => {
  it("is true for a connection that timed out, and false for other connections", () => {
    const withError = (code?: string): SinkConnection =>
      Object.assign(new FakeConnection(1), {
        errored: code ? Object.assign(new Error("gone"), { code }) : null,
      });
    for (const code of ["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"])
      expect(hasLostPeer(withError(code)), code).to.equal(true);
    for (const code of ["ECONNRESET", "EPIPE", undefined])
      expect(hasLostPeer(withError(code))).to.equal(false);
    expect(hasLostPeer(null)).to.equal(false);
    expect(hasLostPeer(undefined)).to.equal(false);
  });
});

describe("readTcpTable()", () => {
  before(function () {
    if (readTcpTable === null) this.skip();
  });

  it("reads the kernel's table in whole lines and finds the test's own connection", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    await once(socket, "connect");
    try {
      const { table, ends } = placeOf(socket, endianness() === "LE")!;
      let text = "";
      for await (const lines of readTcpTable!(table, new AbortController().signal)) {
        expect(lines.endsWith("\n")).to.equal(true);
        text += lines;
      }
      expect(text).to.contain(` ${ends} 01 `);
    } finally {
      socket.destroy();
      server.close();
    }
  });

  it("stops if its signal aborts, and fails if the table does not exist", async () => {
    const stopping = new AbortController();
    stopping.abort();
    for await (const lines of readTcpTable!("tcp", stopping.signal)) expect.fail(lines);
    const none = readTcpTable!("none" as "tcp", new AbortController().signal)[Symbol.asyncIterator]();
    expect(await faultOf(none.next())).to.have.property("code", "ENOENT");
  });
});

interface Stream {
  readonly name: string;
}

class FakeConnection implements SinkConnection {
  readonly localAddress: string;
  readonly localPort = 8_081;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly delays: number[] = [];
  destroyed = 0;
  refuses = false;

  constructor(remotePort: number, remoteAddress = "10.99.0.2") {
    this.remotePort = remotePort;
    this.remoteAddress = remoteAddress;
    this.localAddress = remoteAddress.replace("0.2", "0.1");
  }

  setKeepAlive(enable: boolean, initialDelayMs: number): void {
    expect(enable).to.equal(true);
    if (this.refuses) throw new Error("no such method here");
    this.delays.push(initialDelayMs);
  }

  destroy(): void {
    this.destroyed++;
  }
}

interface Line {
  readonly timer: "01" | "04";
  readonly retransmits?: number;
  readonly probes?: number;
  readonly queued?: number;
  readonly inode?: number;
}

/** The kernel's TCP tables with lines that the test defines. */
class ScriptedTable {
  readonly #clock: FakeClock;
  readonly #lines = new Map<string, string>();
  #wake = deferred();
  readonly names: string[] = [];
  fault: Error | null = null;
  hangs = false;
  hangsAtEnd = false;
  takesMs = 0;
  reads = 0;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  set(connection: FakeConnection, line: Line): void {
    const { timer, retransmits = 0, probes = 0, queued = 5, inode = 1 } = line;
    const { ends } = placeOf(connection, true)!;
    const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, "0");
    this.#lines.set(
      ends,
      `   1: ${ends} 01 ${hex(queued)}:00000000 ${timer}:00000126 ${hex(retransmits)}     0 ${String(probes).padStart(8)} ${inode} 2 00000000b1d90065 326 0 0 1 -1\n`,
    );
  }

  /** Continues a read that hangs. */
  wake(): void {
    this.#wake.resolve();
    this.#wake = deferred();
  }

  readonly read: ReadTcpTable = async function* (this: ScriptedTable, name: string) {
    this.reads++;
    this.names.push(name);
    if (this.hangs) await this.#wake.promise;
    if (this.fault !== null) throw this.fault;
    this.#clock.advance(this.takesMs);
    yield "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    yield* this.#lines.values();
    if (this.hangsAtEnd) await this.#wake.promise;
  }.bind(this);
}
