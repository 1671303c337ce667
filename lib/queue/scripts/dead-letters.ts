import { RedisSseError } from "../../errors.js";
import type { Script } from "../../redis/script.js";
import { STORED } from "./aside.js";
import { BASE, defineQueueScript, toFlags } from "./base.js";
import { ENDS } from "./ends.js";
import { MOVES } from "./moves.js";
import { TELL } from "./tell.js";

/** ARGV: ids of tasks that have failed. Puts them in line again, as new; answers for each whether it was there. */
const REQUEUE = `${BASE}${TELL}${MOVES}${ENDS}${STORED}${String.raw`
local answers, chosen, seen, keys = {}, {}, {}, {}
for index = 6, #ARGV do
  local id = ARGV[index]
  local got, isFit = stored(id, 'failed')
  if got[2] == NAME and fields(TASK .. id, 'released')[1] then return {'released', id} end
  local holder = got[ONCE] and holderOf(got[ONCE])
  local isHeld = holder and holder ~= id and call('EXISTS', TASK .. holder) == 1 or got[ONCE] and keys[got[ONCE]]
  -- Behind an entry that has outlived its task there may be another one of that id, of any queue.
  local isMine = isFit and not isHeld and not seen[id] and isListed(META .. ':failed', id)
  if isMine then
    chosen[#chosen + 1] = {id, got}
    seen[id] = true
    if got[ONCE] then keys[got[ONCE]] = true end
  end
  answers[#answers + 1] = isMine and 1 or 0
end
if areUnfit(READY) then return UNFIT end
if #chosen == 0 then return {unpack(answers)} end
local top = enter(#chosen)
if not top then return UNFIT end
for index = 1, #chosen do
  local id, got = unpack(chosen[index])
  local key, once = TASK .. id, got[ONCE]
  dropOne('failed', id)
  call('DEL', POS .. id, LOG .. id)
  call('HDEL', key, 'by', 'token', 'watched', 'startedAt', 'finishedAt', 'result', 'data', 'delayed', 'due', 'began', 'error',
    'unknownAt')
  call('HSET', key, 'status', 'queued', 'attempt', '0', 'progress', '0', 'message', '')
  call('PERSIST', key)
  if once then call('SET', META .. ':once:' .. once, id) end
  if KEEP == '' then
    tell(id, 'queued', {status = 'queued', progress = '0', message = '', attempt = '0'})
  elseif isHeard(id) then
    watch(id)
  end
  later(READY, placeOf(got[PRIORITY] or '0', top + index), id)
end
move()
try('PUBLISH', WAKE, 'ready')
return {unpack(answers)}`}`;

/** ARGV: ids of tasks that have failed. Forgets them; answers for each whether it was there. */
const PURGE = `${BASE}${ENDS}${String.raw`
local answers = {}
if areUnfit(META .. ':failed') then return UNFIT end
for index = 6, #ARGV do
  local got = fields(TASK .. ARGV[index], 'status', 'queue')
  local listed = isListed(META .. ':failed', ARGV[index])
  dropOne('failed', ARGV[index])
  local mine = listed and got[1] == 'failed' and got[2] == NAME
  if mine then forget(ARGV[index]) end
  push(answers, mine and 1 or 0)
end
return {unpack(answers)}`}`;

export const requeueTasks: Script<readonly boolean[]> = defineQueueScript("Requeue", REQUEUE, (reply) => {
  if (reply[0] !== "released") return toFlags(reply);
  throw new RedisSseError(
    "PAYLOAD_RELEASED",
    `Task "${reply[1]}" cannot run again: its payload was released when it ended. Enqueue a new task.`,
  );
});

export const purgeTasks: Script<readonly boolean[]> = defineQueueScript("Purge", PURGE, toFlags);
