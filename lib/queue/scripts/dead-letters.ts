import type { Script } from "../../redis/script.js";
import { BASE, defineQueueScript, MOVES, TELL, toFlags } from "./base.js";

/** ARGV: ids of tasks that have failed. Puts them in line again, as new; answers for each whether it was there. */
const REQUEUE = `${BASE}${TELL}${MOVES}${String.raw`
local answers, number = {}, enter(#ARGV - 5)
for index = 6, #ARGV do
  local id = ARGV[index]
  local key = TASK .. id
  local got = fields(key, 'status', 'queue', 'priority', 'once')
  local once = got[4] and META .. ':once:' .. got[4]
  local holder = once and call('GET', once)
  local isHeld = type(holder) == 'string' and holder ~= id and call('EXISTS', TASK .. holder) == 1
  -- Behind an entry that has outlived its task there may be another one of that id, of any queue.
  local mine = got[1] == 'failed' and got[2] == NAME and not isHeld and tonumber(call('ZREM', META .. ':failed', id)) == 1
  if mine then
    call('DEL', POS .. id, LOG .. id)
    call('HDEL', key, 'by', 'token', 'watched', 'startedAt', 'finishedAt', 'result', 'data', 'delayed', 'due', 'began',
      'error')
    call('HSET', key, 'status', 'queued', 'attempt', '0', 'progress', '0', 'message', '')
    call('PERSIST', key)
    if once then call('SET', once, id) end
    if KEEP == '' then
      tell(id, 'queued', {status = 'queued', progress = '0', message = '', attempt = '0'})
    elseif isHeard(id) then
      watch(id)
    end
    later(READY, placeOf(got[3] or '0', number + index - 6), id)
  end
  push(answers, mine and 1 or 0)
end
if lists[READY] then
  settle()
  redis.pcall('PUBLISH', WAKE, 'ready')
end
return {unpack(answers)}`}`;

/** ARGV: ids of tasks that have failed. Forgets them; answers for each whether it was there. */
const PURGE = `${BASE}${MOVES}${String.raw`
local answers = {}
for index = 6, #ARGV do
  local got = fields(TASK .. ARGV[index], 'status', 'queue')
  local listed = tonumber(call('ZREM', META .. ':failed', ARGV[index])) == 1
  local mine = listed and got[1] == 'failed' and got[2] == NAME
  if mine then forget(ARGV[index]) end
  push(answers, mine and 1 or 0)
end
return {unpack(answers)}`}`;

export const requeueTasks: Script<readonly boolean[]> = defineQueueScript("Requeue", REQUEUE, toFlags);

export const purgeTasks: Script<readonly boolean[]> = defineQueueScript("Purge", PURGE, toFlags);
