import { isIPv4, isIPv6 } from "node:net";

/** Linux' tables of TCP sockets, `/proc/net/tcp` and `/proc/net/tcp6`. */
export type TcpTable = "tcp" | "tcp6";

/** The two ends of a connection, as a `net.Socket` tells them. */
export interface TcpEnds {
  /** The IP address of this end. */
  readonly localAddress?: string | undefined;
  /** The port of this end. */
  readonly localPort?: number | undefined;
  /** The IP address of the other end. */
  readonly remoteAddress?: string | undefined;
  /** The port of the other end. */
  readonly remotePort?: number | undefined;
}

/** Where a connection is found: its table, and what its line there has of its ends. */
export interface TcpPlace {
  readonly table: TcpTable;
  readonly ends: string;
}

/** A socket whose peer has left something unanswered, as the kernel has it. */
export interface UnansweredSocket {
  readonly ends: string;
  /** What is sent over and over: data, or a probe whether there is room again at a peer that had none. */
  readonly resends: "data" | "probe";
  /** How often that was, since the peer last answered; never 0. */
  readonly times: number;
  /** Bytes that the peer has not acknowledged, those that are not sent yet included. */
  readonly queued: number;
  /** Tells sockets apart that have the same ends, one after the other. */
  readonly inode: string;
}

/** Finds the place of a connection; `null` for one that is none of TCP, or is over. */
export function placeOf(connection: TcpEnds, littleEndian: boolean): TcpPlace | null {
  const local = encodeEnd(connection.localAddress, connection.localPort, littleEndian);
  const remote = encodeEnd(connection.remoteAddress, connection.remotePort, littleEndian);
  if (local === null || remote === null) return null;
  // An IPv4 client of a server that listens to both has an IPv6 socket, and mapped addresses in both places.
  return { table: isIPv6(connection.remoteAddress!) ? "tcp6" : "tcp", ends: `${local} ${remote}` };
}

/**
 * A line of an established socket, with what is looked at in brackets:
 *
 *     sl: [local:port remote:port] st [tx_queue]:rx_queue [timer]:when [retransmits] uid [probes] [inode] ...
 *
 * The timer is 01 while data waits for its acknowledgement, 04 while the peer has no room. Most lines end the match
 * there: their sockets are idle.
 */
const LINE =
  /^ *\d+: ([\dA-F]+:[\dA-F]{4} [\dA-F]+:[\dA-F]{4}) [\dA-F]{2} ([\dA-F]+):[\dA-F]+ (01|04):[\dA-F]+ ([\dA-F]+) +\d+ +(\d+) (\d+) /gm;

/** Reads lines of a table, for those sockets whose peer owes an answer that it was asked for more than once. */
export function* parseUnanswered(lines: string): Generator<UnansweredSocket> {
  for (const [, ends, queued, timer, retransmits, probes, inode] of lines.matchAll(LINE)) {
    // A peer that is there acknowledges each probe, though it has no room: then the count is 0 again.
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
  // The kernel prints each four bytes as a number of the machine, but a port as it is meant.
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
