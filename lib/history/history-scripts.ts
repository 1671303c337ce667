import { randomBytes } from "node:crypto";

import { scriptTime, type RedisClient } from "../redis/client.js";
import { parseEntryId, parseStamp, type EntryId } from "../entry-id.js";
import { defineScript } from "../redis/script.js";
import type { HistoryKeys } from "./history-keys.js";
import { CLAIM_CHANNEL, PUBLISH, READ, RENEW_CHANNEL } from "./lua/generated.js";

export type LeaseStatus = "ok" | "completed" | "taken" | "lost";

const claimScript = defineScript("ClaimChannel", CLAIM_CHANNEL, 2, (reply) => reply as LeaseStatus);
const renewScript = defineScript("RenewChannel", RENEW_CHANNEL, 2, (reply) => reply as LeaseStatus);

/** Makes the owner of a lease the only writer of a channel, until the lease expires or the channel is completed. */
export function claimChannel(
  client: RedisClient,
  { position, log }: HistoryKeys,
  lease: {
    readonly token: string;
    readonly leaseMs: number;
    readonly epoch: string;
    readonly quietTtlMs: number;
  },
): Promise<LeaseStatus> {
  const args = [lease.token, lease.leaseMs, lease.epoch, lease.quietTtlMs];
  return claimScript(client, [position, log], [...args, scriptTime(client)]);
}

export function renewChannel(
  client: RedisClient,
  { position, log }: HistoryKeys,
  { token, leaseMs }: { readonly token: string; readonly leaseMs: number },
): Promise<LeaseStatus> {
  return renewScript(client, [position, log], [token, leaseMs, scriptTime(client)]);
}

/** How a finite channel has ended. */
export type Ending = "completed" | "broken";

/** An event that Redis has acknowledged. */
export interface Acknowledged {
  readonly epoch: string;
  readonly sequence: number;
}

export interface PublishArguments {
  readonly channel: string;
  /** The type of the event. Empty for `message`. */
  readonly event: string;
  readonly data: string;
  readonly ending: Ending | "";
  /** The epoch of a log that starts with this event. */
  readonly epoch: string;
  readonly maxLength: number;
  readonly maxAgeMs: number;
  /** The name of the publisher. With `sequence`, the script recognizes an event that is sent again. */
  readonly producer: string;
  readonly sequence: number;
  /**
   * The event of this producer on this channel that Redis must already have. `"under-way"`: the event with the previous number, whose
   * answer has not arrived. `null`: no event.
   */
  readonly previous: Acknowledged | "under-way" | null;
  /** The lease of the writer that has exclusive use of the channel. Empty if the channel has no writer. */
  readonly writer: string;
  /** Whether the channel will be completed later. Then each new client gets it from its first event. */
  readonly finite: boolean;
}

/** `offset` is `null` if the event seems to have been sent again, but is not in the log. */
export type PublishReply =
  | {
      readonly status: "ok";
      readonly epoch: string;
      readonly offset: number | null;
      /** As in `EntryId`. */
      readonly stamp: number;
      readonly receivers: number;
    }
  | { readonly status: "completed" | "taken" | "lost" | "early" };

const publishScript = defineScript("Publish", PUBLISH, 2, (reply): PublishReply => {
  const [status, epoch = "", id = "", receivers = 0] = reply as readonly string[];
  if (status !== "ok") return { status: status as "completed" | "taken" | "lost" | "early" };
  const { offset = null, stamp = 0 } = parseEntryId(id) ?? {};
  return { status, epoch, offset, stamp, receivers: Number(receivers) };
});

/** Appends one event to the channel's log and publishes it, in one atomic step. An event that is sent again takes effect once. */
export function publishToLog(
  client: RedisClient,
  { position, log }: HistoryKeys,
  call: PublishArguments,
): Promise<PublishReply> {
  const {
    channel,
    event,
    data,
    ending,
    epoch,
    maxLength,
    maxAgeMs,
    producer,
    sequence,
    previous,
    writer,
    finite,
  } = call;
  const isAcknowledged = previous !== null && previous !== "under-way";
  const args: (string | number)[] = [
    channel,
    event,
    data,
    maxLength,
    producer,
    sequence,
    maxAgeMs,
    isAcknowledged ? epoch + previous.epoch : previous === null ? epoch : `${epoch}+`,
  ];
  // Rare arguments are omitted, because every argument costs time.
  const after = isAcknowledged && previous.sequence !== sequence - 1 ? previous.sequence : "";
  const now = scriptTime(client);
  const special = ending !== "" || writer !== "" || finite || now !== "";
  if (special) args.push(after, ending, writer, finite ? "1" : "", now);
  else if (after !== "") args.push(after);
  return publishScript(client, [position, log], args);
}

export interface ReadArguments {
  readonly channel: string;
  /** The epoch of the log. If it is empty, only the state of the log is read. */
  readonly epoch: string;
  readonly after: number;
  readonly maxEvents: number;
  /** Maximum bytes of data. A page has at least one event. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

export interface LogContent {
  readonly event: string | undefined;
  readonly data: string;
  readonly ending?: Ending;
}

export interface LogEntry extends EntryId, LogContent {}

/** The result of one read. */
export interface ReadReply {
  /** True if another program has damaged the log. Then the channel counts as one without a log. */
  readonly isInvalid: boolean;
  /** Empty if the channel has no log. */
  readonly epoch: string;
  readonly top: number;
  /** The stamp of the newest event; 0 if unknown. */
  readonly stamp: number;
  readonly ending: Ending | "";
  readonly finite: boolean;
  /** The offset of the oldest event in the log. `top + 1` if the log is empty. */
  readonly first: number;
  /** The time of the read, in milliseconds of Redis' clock. */
  readonly at: number;
  /** Parses the entries, which takes about a millisecond for a full page. They are in order, and belong to the requested epoch. */
  readonly entries: () => readonly LogEntry[];
}

const readScript = defineScript("ReadLog", READ, 2, (reply) => (reply as readonly unknown[]).map(String));

/** Reads the state of a channel's log and one page, with limits for events and bytes. */
export async function readFromLog(
  client: RedisClient,
  { position, log }: HistoryKeys,
  call: ReadArguments,
): Promise<ReadReply> {
  const { channel, epoch, after, maxEvents, maxBytes, maxAgeMs } = call;
  const args = [epoch, after, maxEvents, maxBytes, maxAgeMs, channel];
  const separator = newSeparator();
  const reply = await readScript(client, [position, log], [...args, scriptTime(client), separator]);
  const [
    fault = "",
    life = "",
    top = "0",
    ending = "",
    finite = "",
    first = "1",
    at = "0",
    stamp = "",
    entries = "",
  ] = reply;
  return {
    isInvalid: fault !== "",
    epoch: life,
    top: Number(top),
    stamp: parseStamp(stamp),
    ending: toEnding(ending),
    finite: finite !== "",
    first: Number(first),
    at: Number(at),
    entries: () => parseEntries(entries, separator),
  };
}

/** Returns a new random separator. Publishers cannot know it, so published data does not contain it. */
function newSeparator(): string {
  return `\u001e${randomBytes(9).toString("base64url")}`;
}

function parseEntries(text: string, separator: string): readonly LogEntry[] {
  const parts = text.split(separator);
  const entries: LogEntry[] = [];
  for (let index = 0; index + 1 < parts.length; index += 2) {
    const head = parts[index]!;
    const idEnd = head.indexOf(" ");
    const endingEnd = head.indexOf(" ", idEnd + 1);
    const id = parseEntryId(head.slice(0, idEnd));
    if (id === null) continue;
    const ending = toEnding(head.slice(idEnd + 1, endingEnd));
    const event = head.slice(endingEnd + 1) || undefined;
    const entry = { ...id, event, data: parts[index + 1]! };
    entries.push(ending === "" ? entry : { ...entry, ending });
  }
  return entries;
}

function toEnding(text: string): Ending | "" {
  return text === "completed" || text === "broken" ? text : "";
}
