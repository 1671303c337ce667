-- Pauses a queue, and deletes some of its tasks.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  '1' to delete running tasks too
-- ARGV[7]  '1' for the first call
-- Result   2 if tasks are running; 1 if more tasks remain; 0 if the whole queue is deleted
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/tell"
--- @include "includes/moves"
--- @include "includes/ends"
--- @include "includes/remove-task"

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
return 0
