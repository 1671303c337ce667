import { isIPv4, isIPv6 } from "node:net";

/** The TCP tables of Linux: `/proc/net/tcp` and `/proc/net/tcp6`. */
export type TcpTable = "tcp" | "tcp6";

/** The two ends of a connection, as `net.Socket` reports them. */
export interface TcpEnds {
  /** The local IP address. */
  readonly localAddress?: string | undefined;
  /** The local port. */
  readonly localPort?: number | undefined;
  /** The remote IP address. */
  readonly remoteAddress?: string | undefined;
  /** The remote port. */
  readonly remotePort?: number | undefined;
}

/** Where a connection appears: its table, and the text of its two ends in that table. */
export interface TcpPlace {
  readonly table: TcpTable;
  readonly ends: string;
}

/** A socket with data or probes that the client has not answered, as the kernel reports it. */
export interface UnansweredSocket {
  readonly ends: string;
  /** What the kernel retransmits: data, or probes to a client that had no room for more data. */
  readonly resends: "data" | "probe";
  /** Retransmissions since the client's last answer; at least 1. */
  readonly times: number;
  /** Bytes that the client has not acknowledged, including bytes that are not sent yet. */
  readonly queued: number;
  /** Differs between two sockets that have the same ends at different times. */
  readonly inode: string;
}

/** Returns the place of a connection in the tables; `null` if it is not a TCP connection, or is closed. */
export function placeOf(connection: TcpEnds, littleEndian: boolean): TcpPlace | null {
  const local = encodeEnd(connection.localAddress, connection.localPort, littleEndian);
  const remote = encodeEnd(connection.remoteAddress, connection.remotePort, littleEndian);
  if (local === null || remote === null) return null;
  return { table: tableOf(connection.remoteAddress!), ends: `${local} ${remote}` };
}

/**
 * Returns the table with the connections to a remote address. If the server listens on IPv4 and IPv6, an IPv4 client has an
 * IPv6 socket. Node.js and the kernel show mapped addresses.
 */
export function tableOf(remoteAddress: string): TcpTable {
  return remoteAddress.includes(":") ? "tcp6" : "tcp";
}

/** Returns the remote port of a socket: the last four digits of its ends. */
export function remotePortOf({ ends }: UnansweredSocket): number {
  return parseInt(ends.slice(-4), 16);
}

/**
 * A line of a table. The brackets show the fields that the expression captures:
 *
 *     sl: [local:port remote:port] st [tx_queue]:rx_queue [timer]:when [retransmits] uid [probes] [inode] ...
 *
 * The timer is 01 while data waits for an acknowledgement, and 04 while the client has no room. Most sockets are idle, and
 * their lines fail to match at this field.
 */
const LINE =
  /^ *\d+: ([\dA-F]+:[\dA-F]{4} [\dA-F]+:[\dA-F]{4}) [\dA-F]{2} ([\dA-F]+):[\dA-F]+ (01|04):[\dA-F]+ ([\dA-F]+) +\d+ +(\d+) (\d+) /gm;

/** Reads lines of a table. Yields each socket with at least one unanswered retransmission. */
export function* parseUnanswered(lines: string): Generator<UnansweredSocket> {
  for (const [, ends, queued, timer, retransmits, probes, inode] of lines.matchAll(LINE)) {
    // A client that is alive acknowledges each probe, even if it has no room. Then the count is 0 again.
    const times = timer === "01" ? parseInt(retransmits!, 16) : parseInt(probes!, 10);
    if (times === 0) continue;
    const resends = timer === "01" ? "data" : "probe";
    yield { ends: ends!, resends, times, queued: parseInt(queued!, 16), inode: inode! };
  }
}

function encodeEnd(
  address: string | undefined,
  port: number | undefined,
  littleEndian: boolean,
): string | null {
  if (address === undefined || port === undefined) return null;
  const digits = isIPv4(address) ? digitsOfIPv4(address) : isIPv6(address) ? digitsOfIPv6(address) : null;
  if (digits === null) return null;
  // The kernel prints each group of four bytes as a number in the machine's byte order, but the port as a normal number.
  const words = littleEndian ? digits.replaceAll(/(..)(..)(..)(..)/g, "$4$3$2$1") : digits;
  return `${words}:${hex(port, 4)}`;
}

function digitsOfIPv4(address: string): string {
  return address
    .split(".")
    .map((byte) => hex(Number(byte), 2))
    .join("");
}

function digitsOfIPv6(address: string): string {
  const [head = "", tail = ""] = address.replace(/%.*$/, "").split("::").map(digitsOfGroups);
  return head + tail.padStart(32 - head.length, "0");
}

function digitsOfGroups(groups: string): string {
  if (groups === "") return "";
  return groups
    .split(":")
    .map((group) => (group.includes(".") ? digitsOfIPv4(group) : hex(parseInt(group, 16), 4)))
    .join("");
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, "0");
}
