-- Forgets tasks that have failed.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  ids follow
-- Result   for each 1 if it was there, otherwise 0
-- Errors   '!' for a key of another type; those of Redis

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
