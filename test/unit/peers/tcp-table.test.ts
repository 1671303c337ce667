import { expect } from "chai";

import { parseUnanswered, placeOf, type TcpEnds } from "../../../lib/peers/tcp-table.js";

/** Lines that Linux 6.18 printed for live and for lost connections. */
const HEADER =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n";
const TCP = {
  listening:
    "   0: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7799925 1 0000000092a66325 100 0 0 10 0                   \n",
  idle: "   3: 0100630A:1F91 0200630A:8DC4 01 00000000:00000000 00:00000000 00000000     0        0 7799929 1 00000000b1d90065 20 0 0 11 -1                   \n",
  underWay:
    "  12: 0100630A:1F91 0200630A:8DC4 01 00000005:00000000 01:00000014 00000000     0        0 7799929 2 00000000b1d90065 20 0 0 11 -1                   \n",
  lost: "1234: 0100630A:1F91 0200630A:8DC4 01 00000005:00000000 01:00000126 0000000B  1000        0 7799929 2 00000000b1d90065 326 0 0 1 -1                  \n",
  noRoom:
    "   2: 0100630A:1F91 0200630A:8DCE 01 0001AF08:00000000 04:0000002A 00000000     0        0 7799932 2 0000000048ebc4e4 20 0 0 21 -1                   \n",
  lostWithoutRoom:
    "   1: 0100630A:1F91 0200630A:8DCE 01 0001AF08:00000000 04:0000044C 00000000     0       13 7799932 2 0000000048ebc4e4 20 0 0 21 -1                   \n",
  keptAlive:
    "   1: 0100630A:1F91 0200630A:8DD2 01 00000000:00000000 02:0000005C 00000000     0        5 7799933 2 00000000a071759c 20 0 0 10 -1                   \n",
  over: "   5: 0100630A:1F91 0200630A:8DD4 06 00000000:00000000 03:00000B4E 00000000     0        0 0 3 0000000048ebc4e4                                      \n",
};
const TCP6 = {
  lost: "   2: 000099FD000000000000000001000000:1F90 000099FD000000000000000002000000:D0CE 01 00000005:00000000 01:00000159 00000005     0        0 7799931 2 00000000699be6b7 652 0 0 1 -1\n",
  mapped:
    "   1: 0000000000000000FFFF00000100630A:1F90 0000000000000000FFFF00000200630A:9852 01 00000005:00000000 01:00000126 00000008     0        0 7799930 2 00000000957a50d5 326 0 0 1 -1\n",
};

describe("placeOf()", () => {
  const places: readonly [string, TcpEnds, string, string][] = [
    ["IPv4", between("10.99.0.1", "10.99.0.2", 36_292), "tcp", "0100630A:1F91 0200630A:8DC4"],
    [
      "IPv6",
      between("fd99::1", "fd99::2", 53_454),
      "tcp6",
      "000099FD000000000000000001000000:1F91 000099FD000000000000000002000000:D0CE",
    ],
    [
      "IPv4 on a dual-stack server",
      between("::ffff:10.99.0.1", "::ffff:10.99.0.2", 38_994),
      "tcp6",
      "0000000000000000FFFF00000100630A:1F91 0000000000000000FFFF00000200630A:9852",
    ],
    [
      "a link-local address",
      between("fe80::1%eth0", "fe80::a:0:0:2%eth0", 65_535),
      "tcp6",
      "000080FE000000000000000001000000:1F91 000080FE0000000000000A0002000000:FFFF",
    ],
    [
      "an address that ends in zeros",
      between("1::", "0:0:1::", 1),
      "tcp6",
      "00000100000000000000000000000000:1F91 00000000000001000000000000000000:0001",
    ],
  ];
  for (const [what, ends, table, printed] of places) {
    it(`returns the table and the line of ${what}`, () =>
      expect(placeOf(ends, true)).to.deep.equal({ table, ends: printed }));
  }

  it("writes the bytes in the order of a big-endian machine", () => {
    expect(placeOf(between("10.99.0.1", "10.99.0.2", 36_292), false)!.ends).to.equal(
      "0A630001:1F91 0A630002:8DC4",
    );
    expect(placeOf(between("fd99::1", "::ffff:10.99.0.2", 1), false)!.ends).to.equal(
      "FD990000000000000000000000000001:1F91 00000000000000000000FFFF0A630002:0001",
    );
  });

  it("returns null for a socket without a TCP connection", () => {
    const { localAddress, ...rest } = between("10.99.0.1", "10.99.0.2", 1);
    expect(placeOf({}, true)).to.equal(null);
    expect(placeOf(rest, true)).to.equal(null);
    expect(placeOf({ ...rest, localAddress, remotePort: undefined }, true)).to.equal(null);
    expect(placeOf({ ...rest, localAddress: "/run/app.sock" }, true)).to.equal(null);
  });
});

describe("parseUnanswered()", () => {
  const parse = (text: string) => [...parseUnanswered(text)];

  it("finds data that was resent", () => {
    expect(parse(TCP.lost)).to.deep.equal([
      { ends: "0100630A:1F91 0200630A:8DC4", resends: "data", times: 11, queued: 5, inode: "7799929" },
    ]);
    expect(parse(TCP6.lost + TCP6.mapped).map(({ ends, times }) => [ends, times])).to.deep.equal([
      ["000099FD000000000000000001000000:1F90 000099FD000000000000000002000000:D0CE", 5],
      ["0000000000000000FFFF00000100630A:1F90 0000000000000000FFFF00000200630A:9852", 8],
    ]);
  });

  it("finds unanswered probes to a peer with a full receive window", () => {
    expect(parse(TCP.lostWithoutRoom)).to.deep.equal([
      { ends: "0100630A:1F91 0200630A:8DCE", resends: "probe", times: 13, queued: 110_344, inode: "7799932" },
    ]);
  });

  it("skips a socket that listens, is idle, is in time, has no room, sends keepalives or has ended", () => {
    const { listening, idle, underWay, noRoom, keptAlive, over } = TCP;
    expect(parse(listening + idle + underWay + noRoom + keptAlive + over)).to.deep.equal([]);
    for (const text of ["", "\n\n", HEADER, " 01:00000126 0000000B ".repeat(1_000), TCP.lost.slice(6)])
      expect(parse(text)).to.deep.equal([]);
  });

  it("finds lost connections in a whole table, with the same addresses as placeOf() returns", () => {
    const table = HEADER + Object.values(TCP).join("");
    expect(parse(table).map(({ ends }) => ends)).to.deep.equal([
      placeOf(between("10.99.0.1", "10.99.0.2", 36_292), true)!.ends,
      placeOf(between("10.99.0.1", "10.99.0.2", 36_302), true)!.ends,
    ]);
  });
});

function between(localAddress: string, remoteAddress: string, remotePort: number): TcpEnds {
  return { localAddress, localPort: 8_081, remoteAddress, remotePort };
}
