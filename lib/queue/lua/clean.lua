-- Forgets some of the tasks that are over.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  a way to end
-- ARGV[7]  how long ago at least, in ms
-- ARGV[8]  most tasks to forget
-- ARGV[9]  how many of the set to leave out
-- Result   how many it has looked at, and how many it has forgotten
-- Errors   '!' for a key of another type; those of Redis

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
