import type { Script } from "../../redis/script.js";
import { BASE, defineQueueScript, toFlags } from "./base.js";
import { MOVES } from "./moves.js";
import { TELL } from "./tell.js";

/**
 * ARGV: of each attempt that is over: line by line its token, what became of it ('succeeded', 'failed', 'retry', 'back' or 'unknown', which goes back until so many ms after it was first met, then fails),
 * progress, ms until it is tried again, ms for which it is kept, and message ('' for all that where it is as of the one before); then
 * its id, and the result as JSON or what went wrong. Answers for each whether it was taken: one whose token is not the task's any more is a
 * zombie's, and counted. The one who has told it is told so again.
 */
const SETTLE = `${BASE}${TELL}${MOVES}${String.raw`
local answers, refused, retried, unknown = {}, 0, 0, 0
local token, verdict, progress, delay, ttl, message
-- All that is stored is read before the first write: a task that cannot be read must not leave another one half ended.
local stored, checked = {}, {}
for index = 7, #ARGV, 3 do
  local id = ARGV[index]
  stored[id] = stored[id] or fields(TASK .. id, 'token', 'by', 'attempt', 'watched', 'once', 'place', 'unknownAt', 'payload',
    'data', 'error', 'options')
  local verdict = string.match(ARGV[index - 1], '^[^\n]*\n(%a+)')
  if verdict and not checked[verdict] then
    checked[verdict] = true
    if verdict ~= 'succeeded' and verdict ~= 'failed' then areUnfit(READY, DELAYED) end
    if verdict == 'unknown' then verdict = 'failed' end
    if verdict == 'succeeded' or verdict == 'failed' then areUnfit(META .. ':' .. verdict) end
  end
end
if areUnfit(LEASES) then return UNFIT end
insist()
for index = 6, #ARGV, 3 do
  local head, id, result = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  if head ~= '' then
    token, verdict, progress, delay, ttl, message = string.match(head, '^(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
  end
  local key = TASK .. id
  local got = stored[id]
  if got[2] == token then
    answers[#answers + 1] = 1
  elseif got[1] ~= token or not finite(got[3]) or not finite(got[6]) then
    -- A task that cannot be read is put aside when its lease runs out.
    refused = refused + 1
    answers[#answers + 1] = 0
  else
    local task = {status = verdict, progress = progress, message = message, attempt = got[3], watched = got[4], once = got[5],
      payload = got[8], stored = lengthOf(got[9], got[10], got[11])}
    leave(LEASES, id)
    got[1], got[2] = '', token
    answers[#answers + 1] = 1
    local verdict, wait = verdict, tonumber(delay)
    if verdict == 'unknown' then
      -- Soon at first, then more rarely: another worker may know the kind already, or only when the deploy is over.
      local since = finite(got[7]) or now
      local left = since + wait - now
      wait = math.min(math.max(1000, math.min(now - since, 30000)), left)
      if left <= 0 then
        verdict, task.status = 'failed', 'failed'
      else
        call('HSET', key, 'unknownAt', text(since))
        unknown = unknown + 1
      end
    elseif got[7] then
      call('HDEL', key, 'unknownAt')
    end
    if verdict == 'succeeded' or verdict == 'failed' then
      -- The error of an earlier attempt is replaced, or of no use any more.
      if got[10] then task.stored = task.stored - #got[10] end
      if got[10] and verdict == 'succeeded' then call('HDEL', key, 'error') end
      conclude(id, task, ttl, 'by', token, verdict == 'succeeded' and 'result' or 'error', result)
    else
      watch(id)
      local due = now + wait
      task.status = due > now and 'delayed' or 'queued'
      if verdict == 'retry' then retried = retried + 1 else task.attempt = text(tonumber(got[3]) - 1) end
      call('HSET', key, 'by', token, 'token', '', 'status', task.status, 'attempt', task.attempt, 'progress', progress,
        'message', message, 'error', result, 'due', text(due))
      if due > now then later(DELAYED, text(due), id) else later(READY, got[6], id) end
      tell(id, verdict == 'retry' and 'retry' or 'requeued', task)
    end
  end
end
local wake = lists[READY] or lists[DELAYED]
settle()
if refused > 0 then count('refused', refused) end
if retried > 0 then count('retried', retried) end
if unknown > 0 then count('unknownKind', unknown) end
if wake then redis.pcall('PUBLISH', WAKE, 'ready') end
return {unpack(answers)}`}`;

/** ARGV: lease ms, then ids and tokens. Answers for each whether the task is still that worker's: 1, or 0, or 2 if it was cancelled. */
const RENEW = `${BASE}${MOVES}${String.raw`
local answers = {}
if areUnfit(LEASES) then return UNFIT end
insist()
for index = 7, #ARGV, 2 do
  local id = ARGV[index]
  local got = fields(TASK .. id, 'token', 'status')
  local mine = got[1] == ARGV[index + 1]
  if mine then later(LEASES, text(now + tonumber(ARGV[6])), id) end
  push(answers, mine and 1 or got[2] == 'cancelled' and 2 or 0)
end
settle()
return {unpack(answers)}`}`;

export const settleTasks: Script<readonly boolean[]> = defineQueueScript("Settle", SETTLE, toFlags);

/** What became of a lease that was to be renewed. */
export type RenewReply = "held" | "lost" | "cancelled";

const RENEW_REPLIES: Readonly<Record<string, RenewReply>> = { 1: "held", 2: "cancelled" };

export const renewLeases: Script<readonly RenewReply[]> = defineQueueScript("Renew", RENEW, (reply) =>
  reply.map((answer) => RENEW_REPLIES[answer] ?? "lost"),
);
