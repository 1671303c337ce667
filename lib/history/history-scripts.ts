import { randomBytes } from "node:crypto";

import { scriptTime, type RedisClient } from "../redis/client.js";
import { parseEntryId, parseStamp, type EntryId } from "../entry-id.js";
import { defineScript } from "../redis/script.js";
import type { HistoryKeys } from "./history-keys.js";
import { CLAIM_CHANNEL, PUBLISH, READ, RENEW_CHANNEL } from "./lua/generated.js";

export type LeaseStatus = "ok" | "completed" | "taken" | "lost";

const claimScript = defineScript("ClaimChannel", CLAIM_CHANNEL, 2, (reply) => reply as LeaseStatus);
const renewScript = defineScript("RenewChannel", RENEW_CHANNEL, 2, (reply) => reply as LeaseStatus);

/** Makes the owner of a lease the only writer of a channel, until the lease runs out or the channel is completed. */
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
  /** Empty for none. */
  readonly event: string;
  readonly data: string;
  readonly ending: Ending | "";
  /** The epoch of a log that starts with this event. */
  readonly epoch: string;
  readonly maxLength: number;
  readonly maxAgeMs: number;
  /** The name of the publisher, and the number of this event. The script uses both to recognize an event that is sent again. */
  readonly producer: string;
  readonly sequence: number;
  /**
   * The event of this producer on this channel that Redis must have before this one: its last that was acknowledged, or
   * `"under-way"` for the one with the number before. `null` for none.
   */
  readonly previous: Acknowledged | "under-way" | null;
  /** The lease of the writer of the whole channel; empty if the channel has no writer. */
  readonly writer: string;
  /** Whether the channel will be completed later. Then a late reader gets it from its first event. */
  readonly finite: boolean;
}

/** `offset` is `null` for an event that seems to have been sent again and is not in the log. */
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

/** Appends one event to the channel's log and publishes it, in one atomic step that takes effect once. */
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
  // Rare arguments are left out, because every argument costs time.
  const after = isAcknowledged && previous.sequence !== sequence - 1 ? previous.sequence : "";
  const now = scriptTime(client);
  const special = ending !== "" || writer !== "" || finite || now !== "";
  if (special) args.push(after, ending, writer, finite ? "1" : "", now);
  else if (after !== "") args.push(after);
  return publishScript(client, [position, log], args);
}

export interface ReadArguments {
  readonly channel: string;
  /** The epoch of the log to read; empty to read only the state of the log. */
  readonly epoch: string;
  readonly after: number;
  readonly maxEvents: number;
  /** Of data; a page holds one event at least. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

export interface LogContent {
  readonly event: string | undefined;
  readonly data: string;
  readonly ending?: Ending;
}

export interface LogEntry extends EntryId, LogContent {}

/** The log as one read has found it. The entries are in order, and belong to the epoch that the caller asked for. */
export interface ReadReply {
  /** Another program has damaged the log, so it counts as no log. */
  readonly isInvalid: boolean;
  /** Empty if there is no log. */
  readonly epoch: string;
  readonly top: number;
  /** The stamp of the newest event; 0 if unknown. */
  readonly stamp: number;
  readonly ending: Ending | "";
  readonly finite: boolean;
  /** The offset of the oldest event that is held; `top + 1` if no event is held. */
  readonly first: number;
  /** The time of the read, in milliseconds of Redis' clock. */
  readonly at: number;
  readonly entries: readonly LogEntry[];
}

const readScript = defineScript("ReadLog", READ, 2, (reply) => (reply as readonly unknown[]).map(String));

/** Reads one page of a channel's log, bounded in events and in bytes, and the state of the log. */
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
    entries: parseEntries(entries, separator),
  };
}

/** A new random text each time, so that published data cannot contain it. No part of it is both its start and its end. */
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
