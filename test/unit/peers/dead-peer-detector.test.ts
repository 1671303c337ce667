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

/** After as much there was a look, whatever chance says; and no more than one. */
const PERIOD_MS = (TIMEOUT_MS / 4) * 1.25;

describe("DeadPeerDetector", () => {
  let clock: FakeClock;
  let table: ScriptedTable;
  let watch: DeadPeerDetector;
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

  function create(timeoutMs = TIMEOUT_MS, read: ReadTcpTable | null = table.read): DeadPeerDetector {
    return new DeadPeerDetector({ clock, timeoutMs, read, littleEndian: true });
  }

  const add = (connection: FakeConnection = peer, name = "a"): (() => void) =>
    watch.add(connection, () => lost.push(name));

  /** Lets time pass, in steps that are finer than looks are apart. */
  async function pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 100) {
      clock.advance(Math.min(100, milliseconds - passed));
      await settle(2);
    }
  }

  /** Its peer answers no more: from now on data is sent again and again, at growing intervals. */
  async function vanish(connection = peer, forMs = TIMEOUT_MS + 2 * PERIOD_MS): Promise<void> {
    for (let passed = 0, again = 1; passed < forMs; passed += 1_000) {
      if (passed >= 1_000 * 2 ** (again - 2)) table.set(connection, { timer: "01", retransmits: again++ });
      await pass(1_000);
    }
  }

  it("tells of a peer that has left data unanswered for the time that it may", async () => {
    add();
    await vanish(peer, TIMEOUT_MS);
    expect(lost).to.deep.equal([]);
    // The first time it is sent again is after a second.
    await pass(1_100 + PERIOD_MS);
    expect(lost).to.deep.equal(["a"]);
    expect(peer.destroyed).to.equal(1);
    expect(log.lines.join("\n")).to.match(/\[SSE\] lost client: no answer to data after \d+ retransmissions/);
  });

  it("tells of one without room that does not answer probes any more", async () => {
    add();
    table.set(peer, { timer: "04", probes: 1 });
    await pass(2 * PERIOD_MS);
    table.set(peer, { timer: "04", probes: 2 });
    await pass(TIMEOUT_MS);
    expect(lost).to.deep.equal(["a"]);
  });

  describe("leaves alone", () => {
    afterEach(() => {
      expect(lost).to.deep.equal([]);
      expect(peer.destroyed).to.equal(0);
    });

    for (const [says, ...steps] of [
      ["whose data is merely under way", [{ timer: "01", retransmits: 0, queued: 100 }, 5 * TIMEOUT_MS]],
      ["that has no room, and answers probes", [{ timer: "04", probes: 0, queued: 100_000 }, 5 * TIMEOUT_MS]],
      [
        "to whom something was sent again at each look, though never more often: on a bad line",
        [{ timer: "01", retransmits: 1 }, 5 * TIMEOUT_MS],
      ],
      [
        "that has room again, and loses what it is sent then",
        [{ timer: "04", probes: 1 }, TIMEOUT_MS - PERIOD_MS],
        [{ timer: "01", retransmits: 2 }, TIMEOUT_MS - PERIOD_MS],
      ],
      [
        "that answers between two looks",
        [{ timer: "01", retransmits: 3 }, PERIOD_MS],
        [{ timer: "01", retransmits: 1 }, PERIOD_MS],
        [{ timer: "01", retransmits: 4 }, TIMEOUT_MS - PERIOD_MS],
      ],
    ] as readonly [string, ...(readonly [Line, number])[]][]) {
      it(`one ${says}`, async () => {
        add();
        for (const [line, forMs] of steps) {
          table.set(peer, line);
          await pass(forMs);
        }
      });
    }

    it("one that answers in between", async () => {
      add();
      for (let times = 0; times < 5; times++) {
        await vanish(peer, TIMEOUT_MS - PERIOD_MS);
        table.set(peer, { timer: "01", retransmits: 0 });
        await pass(PERIOD_MS);
      }
    });

    for (const [says, linesOf] of [
      ["less waits than before", (step: number) => ({ retransmits: 50 * step, queued: 1_000 - 50 * step })],
      [
        "it had been sent again more often",
        (step: number) => ({ retransmits: 20 - step, queued: 9_000 + step }),
      ],
    ] as const) {
      it(`one that answers between two looks: ${says}`, async () => {
        add();
        for (let step = 1; step < 20; step++) {
          table.set(peer, { timer: "01", ...linesOf(step) });
          await pass(PERIOD_MS);
        }
      });
    }

    for (const [says, isOver] of [
      ["after it", true],
      ["while it still ends", false],
    ] as const) {
      it(`another one that has its ends ${says}`, async () => {
        const remove = add();
        await vanish(peer, TIMEOUT_MS - PERIOD_MS);
        if (isOver) remove();
        add();
        table.set(peer, { timer: "01", retransmits: 8, inode: 2 });
        await pass(TIMEOUT_MS - PERIOD_MS);
      });
    }

    it("one whose streams have all ended", async () => {
      const removes = [add(), add()];
      await vanish(peer, TIMEOUT_MS - PERIOD_MS);
      for (const remove of removes) remove();
      await vanish();
    });

    it("one whose streams end while the rest of the table is read", async () => {
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

    it("all, when it has not looked for long: they may have answered", async () => {
      add();
      await vanish(peer, TIMEOUT_MS - PERIOD_MS);
      table.set(peer, { timer: "01", retransmits: 20 });
      clock.advance(10 * TIMEOUT_MS); // the whole process has slept
      await settle();
      await pass(TIMEOUT_MS - PERIOD_MS);
    });
  });

  it("ends all streams that go over a connection, and drops it once", async () => {
    add(peer, "a");
    add(peer, "b");
    const remove = add(peer, "c");
    remove();
    await vanish();
    expect(lost).to.deep.equal(["a", "b"]);
    expect(peer.destroyed).to.equal(1);
  });

  it("finds connections of IPv6 in their own table, and reads none that it has nobody in", async () => {
    const peer6 = new FakeConnection(40_000, "::ffff:10.99.0.2");
    add(peer6);
    await vanish(peer6);
    expect(lost).to.deep.equal(["a"]);
    expect(new Set(table.names)).to.deep.equal(new Set(["tcp6"]));
  });

  describe("when it cannot read", () => {
    it("nobody is dropped for what was not seen, and it tries again", async () => {
      add();
      await vanish(peer, TIMEOUT_MS - PERIOD_MS);
      table.fault = new Error("EMFILE: too many open files");
      await pass(PERIOD_MS);
      expect(log.lines.join("\n")).to.match(/cannot check for lost clients: /);
      table.fault = null;
      await pass(PERIOD_MS);
      table.set(peer, { timer: "01", retransmits: 20 });
      await pass(PERIOD_MS);
      expect(lost, "it is timed from the first look after").to.deep.equal([]);
      table.set(peer, { timer: "01", retransmits: 21 });
      await pass(TIMEOUT_MS);
      expect(lost).to.deep.equal(["a"]);
    });

    it("since the system does not answer, it asks no second time, and stops", async () => {
      add();
      table.hangs = true;
      await pass(5 * TIMEOUT_MS);
      expect(table.reads).to.equal(1);
      watch.stop();
      await settle();
      expect(clock.pending).to.equal(0);
    });

    it("takes up again what has hung", async () => {
      add();
      table.hangs = true;
      await pass(5 * TIMEOUT_MS);
      table.hangs = false;
      table.wake();
      // It has seen how long a look can take, and the next one comes late.
      await pass(1.25 * 60_000);
      await vanish();
      expect(lost).to.deep.equal(["a"]);
    });
  });

  describe("close", () => {
    it("ends it while it reads, and nobody is dropped any more", async () => {
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

  it("looks four times in a timeout, and not before there is anybody", async () => {
    add()();
    await pass(TIMEOUT_MS);
    expect(table.reads).to.equal(0);
    add();
    await pass(10 * TIMEOUT_MS);
    expect(table.reads).to.be.within(31, 53);
  });

  it("takes no more than a twentieth of the time, however long a look takes", async () => {
    add();
    table.takesMs = 500;
    await pass(20 * TIMEOUT_MS);
    expect(table.reads).to.be.within(10, 16);
  });

  describe("asks for keepalive", () => {
    it("a while before the timeout is over, within what a system takes", () => {
      for (const [timeoutMs, delayMs] of [
        [60_000, 50_000],
        [12_000, 2_000],
        [1_000, 1_000],
        [2 ** 31 - 1, 7_200_000],
      ] as const) {
        watch = create(timeoutMs);
        watch.add(peer, () => {});
        watch.stop();
        expect(peer.delays.at(-1)).to.equal(delayMs);
      }
    });

    it("alone, where the system has no tables", async () => {
      watch = create(TIMEOUT_MS, null);
      add()();
      add();
      watch.add({ setKeepAlive: () => {}, destroy: () => {} }, () => lost.push("a"))();
      await pass(5 * TIMEOUT_MS);
      expect(peer.delays).to.have.length(2);
      expect(clock.pending).to.equal(0);
    });

    it("and watches all the same where that fails", async () => {
      peer.refuses = true;
      add();
      await vanish();
      expect(lost).to.deep.equal(["a"]);
    });
  });

  it("does nothing at all when nobody is to be watched, or there is no connection", async () => {
    watch.add(undefined, () => {})();
    watch.add(null, () => {})();
    watch = create(Infinity);
    add();
    await pass(TIMEOUT_MS);
    expect(peer.delays).to.deep.equal([]);
    expect(clock.pending).to.equal(0);
  });
});

describe("hasLostPeer()", () => {
  it("tells a connection that the system has given up from one that was ended", () => {
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

  it("reads the kernel's table in whole lines, of this very connection too", async () => {
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

  it("ends early when it is told to, and fails where there is no such table", async () => {
    const stopping = new AbortController();
    stopping.abort();
    for await (const lines of readTcpTable!("tcp", stopping.signal)) expect.fail(lines);
    const none = readTcpTable!("none" as "tcp", new AbortController().signal)[Symbol.asyncIterator]();
    expect(await faultOf(none.next())).to.have.property("code", "ENOENT");
  });
});

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

/** The kernel's tables, as a test has them. */
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

  /** Lets a read go on that hangs. */
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
