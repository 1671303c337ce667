-- Deletes some of the tasks that have ended.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  a final status: 'succeeded', 'failed' or 'cancelled'
-- ARGV[7]  minimum time since the task ended, in ms
-- ARGV[8]  maximum number of tasks to delete
-- ARGV[9]  number of tasks to skip at the start of the set
-- Result   number of tasks checked, and number of tasks deleted
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/ends"

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
return {text(#page / 2), text(#old / 2)}
