import type { Script } from "../../redis/script.js";
import { STORED } from "./aside.js";
import { BASE, defineQueueScript } from "./base.js";
import { ENDS } from "./ends.js";
import { MOVES } from "./moves.js";
import { TELL } from "./tell.js";

/** Forgets a task. If it is not over, whoever watches it is told that it was cancelled. */
const END = String.raw`
local function remove(id)
  local got = fields(TASK .. id, 'status', 'progress', 'attempt', 'watched')
  if not got[1] or isOver(got[1]) or KEEP ~= '' and not got[4] then return forget(id) end
  local progress = finite(got[2]) and got[2] or '0'
  tell(id, 'cancelled', {status = 'cancelled', progress = progress, message = 'removed', attempt = got[3] or '0'}, 'completed')
  call('DEL', TASK .. id)
  if KEEP ~= '' then expireLog(id, '60000') end
end
`;

/** ARGV: id. 1 if the task is forgotten now; 0 if there is none; 2 if it is running. */
const REMOVE = `${BASE}${TELL}${MOVES}${ENDS}${STORED}${END}${String.raw`
local name = ARGV[6]
local id = string.gsub(name, '%%(%x%x)', function(code) return string.char(tonumber(code, 16)) end)
if name == '%' then id = '' end
local isCut = string.sub(name, -3) == '...'
local ENDS = {'succeeded', 'failed', 'cancelled'}
local sets = {READY, DELAYED, META .. ':succeeded', META .. ':failed', META .. ':cancelled', UNREADABLE}
if areUnfit(LEASES, unpack(sets)) then return UNFIT end
local isAside, isRunning = isListed(UNREADABLE, name), isListed(LEASES, id)
local got, isOther = fields(TASK .. id, 'queue', 'once')
local isMine = isId(id) and got[1] == NAME
if not isAside and not isMine then return 0 end
if isRunning and isMine and not isAside then return 2 end
call('ZREM', UNREADABLE, name)
if isRunning and isMine or isCut or got[1] and got[1] ~= NAME then return 1 end
call('ZREM', READY, id)
call('ZREM', DELAYED, id)
for _, status in ipairs(ENDS) do dropOne(status, id) end
if got[2] and holderOf(got[2]) == id then call('DEL', META .. ':once:' .. got[2]) end
if isAside then forget(id) else remove(id) end
return 1`}`;

/**
 * ARGV: a way to end, how long ago at least in ms, most tasks to forget, how many of the set to leave out. Answers how many it
 * has looked at, and how many it has forgotten.
 */
const CLEAN = `${BASE}${ENDS}${String.raw`
local status, before, most, from = ARGV[6], now - tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local set = META .. ':' .. status
if areUnfit(set) then return UNFIT end
local page, old = call('ZRANGE', set, text(from), text(from + 199), 'WITHSCORES'), {}
for index = 1, #page, 2 do
  local got = fields(TASK .. page[index], 'status', 'queue', 'finishedAt')
  local isOld = got[1] == status and got[2] == NAME and (finite(got[3]) or 0) <= before
  if isOld and #old < 2 * most then push(old, page[index], page[index + 1]) end
end
drop(status, old, true)
return {text(#page / 2), text(#old / 2)}`}`;

/**
 * ARGV: '1' to delete running tasks too; '1' for the first call. Pauses the queue, and deletes some of its tasks. Answers 2 if tasks are
 * running, 1 if there are more tasks, 0 when all of the queue is deleted.
 */
const OBLITERATE = `${BASE}${TELL}${MOVES}${ENDS}${END}${String.raw`
local sets = {'ready', 'delayed', 'leases', 'succeeded', 'failed', 'cancelled'}
for index = 1, #sets do areUnfit(META .. ':' .. sets[index]) end
if unfit then return UNFIT end
if ARGV[6] ~= '1' and ARGV[7] == '1' and tonumber(call('ZCARD', LEASES)) > 0 then return 2 end
insist()
call('HSET', META, 'paused', '1')
for index = 1, #sets do
  local set = META .. ':' .. sets[index]
  local ids = call('ZRANGE', set, '0', '199')
  for at = 1, #ids do
    local id = ids[at]
    local got = fields(TASK .. id, 'queue', 'once')
    if got[2] and holderOf(got[2]) == id then call('DEL', META .. ':once:' .. got[2]) end
    if not got[1] or got[1] == NAME then remove(id) end
    if set == LEASES then try('PUBLISH', WAKE, 'cancel ' .. id) end
  end
  if #ids > 0 then
    call('ZREM', set, unpack(ids))
    return 1
  end
end
call('DEL', META, META .. ':unreadable', META .. ':schedules', META .. ':due')
return 0`}`;

export type RemoveReply = "removed" | "unknown" | "running";

const REMOVE_REPLIES: Readonly<Record<string, RemoveReply>> = { 1: "removed", 2: "running" };

export const removeTask: Script<RemoveReply> = defineQueueScript(
  "Remove",
  REMOVE,
  ([reply]) => REMOVE_REPLIES[reply ?? ""] ?? "unknown",
);

export const cleanTasks: Script<{ readonly seen: number; readonly removed: number }> = defineQueueScript(
  "Clean",
  CLEAN,
  ([seen, removed]) => ({ seen: Number(seen), removed: Number(removed) }),
);

export const obliterateQueue: Script<"done" | "more" | "running"> = defineQueueScript(
  "Obliterate",
  OBLITERATE,
  ([reply]) => (reply === "0" ? "done" : reply === "1" ? "more" : "running"),
);
