-- Deletes failed tasks.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  the first id; the others follow
-- Result   for each id 1 if a failed task had it, otherwise 0
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/ends"

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
return {unpack(answers)}
