-- Adds failed tasks to the queue again, as new tasks.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  the first id; the others follow
-- Result   for each id 1 if a failed task had it, otherwise 0; or {'released', id} if that task's payload was
--          deleted
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/tell"
--- @include "includes/moves"
--- @include "includes/ends"
--- @include "includes/stored"

local answers, chosen, seen, keys = {}, {}, {}, {}
for index = 6, #ARGV do
  local id = ARGV[index]
  local got, isFit = stored(id, 'failed')
  if got[QUEUE] == NAME and fields(TASK .. id, 'released')[1] then return {'released', id} end
  local holder = got[ONCE] and holderOf(got[ONCE])
  local isHeld = holder and holder ~= id and call('EXISTS', TASK .. holder) == 1 or got[ONCE] and keys[got[ONCE]]
  -- If the dead letter has expired, a new task may have its id, in any queue.
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
return {unpack(answers)}
