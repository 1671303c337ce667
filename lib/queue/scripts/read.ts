import { IS_PLACE } from "../../redis/place-lua.js";
import type { Script } from "../../redis/script.js";
import { isStatus } from "../task.js";
import { BASE, defineQueueScript } from "./base.js";
import { TELL } from "./tell.js";

/** ARGV: id. How many events its channel has had (0 where none are kept), and its fields. */
const READ = `${BASE}${IS_PLACE}${String.raw`
local key, id = TASK .. ARGV[6], ARGV[6]
local got, isOther = fields(key, 'watched', 'status', 'startedAt')
local all = isOther and {} or call('HGETALL', key)
local at = try('HMGET', POS .. id, 'e', 'o')
local seq = not at.err and isPlace(at[1], at[2]) and at[2] or '0'
if KEEP == '' then
  seq = '0'
elseif not got[1] then
  -- What its log would hold.
  seq = 1
  if got[3] then seq = seq + 1 end
  if got[2] == 'succeeded' or got[2] == 'failed' or got[2] == 'cancelled' then seq = seq + 1 end
  seq = text(seq)
end
return {seq, unpack(all)}`}`;

/** ARGV: id. Whether there was anything to tell that had not been told. */
const WATCH = `${BASE}${TELL}${String.raw`
return watch(ARGV[6]) and 1 or 0`}`;

/**
 * ARGV: name of the set, score and id after which to go on ('' for the beginning), most ids. Answers ids and scores in
 * their order.
 */
const LIST = `${BASE}${TELL}${String.raw`
local set, from, after, limit = META .. ':' .. ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
if areUnfit(set) then return UNFIT end
local score = after ~= '' and call('ZSCORE', set, after)
local page
if (type(score) == 'number' or type(score) == 'string') and shown(score) == from then
  local rank = tonumber(call('ZRANK', set, after))
  page = call('ZRANGE', set, text(rank + 1), text(rank + limit), 'WITHSCORES')
else
  -- It has gone, or stands elsewhere by now: those of its score that came after it may be shown twice, and none is left out.
  -- Tasks that are over are there until their score.
  local first = from ~= '' and from or isOver(ARGV[6]) and '(' .. NOW or '-inf'
  page = call('ZRANGEBYSCORE', set, first, '+inf', 'WITHSCORES', 'LIMIT', '0', text(limit))
end
local reply = {''}
for index = 1, #page, 2 do push(reply, page[index], shown(page[index + 1])) end
return {unpack(reply)}`}`;

/** Answers how many tasks are in each state, whether the queue is paused, and what it has counted. */
const COUNT = `${BASE}${String.raw`
local reply = {}
for _, set in ipairs({'ready', 'delayed', 'leases', 'unreadable'}) do push(reply, look('ZCARD', META .. ':' .. set)) end
for _, status in ipairs({'succeeded', 'failed', 'cancelled'}) do
  push(reply, look('ZCOUNT', META .. ':' .. status, NOW, '+inf'))
end
local got, isOther = fields(META, 'paused', 'enqueued', 'succeeded', 'failed', 'cancelled', 'retried', 'lost', 'refused', 'unreadable',
  'unknownKind')
if unfit or isOther then return UNFIT end
reply[8] = got[1] and '1' or '0'
for index = 2, 10 do push(reply, finite(got[index]) and got[index] or '0') end
return {unpack(reply)}`}`;

/** A task's fields, and how many events its channel has had; `null` for one that is not there. */
export interface ReadReply {
  readonly seq: number;
  readonly fields: ReadonlyMap<string, string>;
}

export const readTask: Script<ReadReply | null> = defineQueueScript(
  "ReadTask",
  READ,
  ([seq, ...flat]): ReadReply | null => {
    const fields = new Map<string, string>();
    for (let index = 0; index + 1 < flat.length; index += 2) fields.set(flat[index]!, flat[index + 1]!);
    return fields.has("kind") && isStatus(fields.get("status")) ? { seq: Number(seq), fields } : null;
  },
);

export const watchTask: Script<boolean> = defineQueueScript("WatchTask", WATCH, ([reply]) => reply === "1");

export interface ListEntry {
  readonly id: string;
  readonly score: string;
}

export const listTasks: Script<readonly ListEntry[]> = defineQueueScript(
  "ListTasks",
  LIST,
  ([, ...reply]): readonly ListEntry[] => {
    const entries: ListEntry[] = [];
    for (let index = 0; index + 1 < reply.length; index += 2) {
      entries.push({ id: reply[index]!, score: reply[index + 1]! });
    }
    return entries;
  },
);

export const countTasks: Script<readonly number[]> = defineQueueScript("CountTasks", COUNT, (reply) =>
  reply.map(Number),
);
