-- Renews leases.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  ms of a lease
-- ARGV[7]  id and token follow, of each lease
-- Result   for each 1 if the task is still that worker's, 2 if it was cancelled, otherwise 0
-- Errors   '!' for a key of another type; those of Redis

--- @include "includes/base"
--- @include "includes/moves"

local answers = {}
insist()
if unfit then return UNFIT end
for index = 7, #ARGV, 2 do
  local id = ARGV[index]
  local got = fields(TASK .. id, 'token', 'status')
  local mine = got[1] == ARGV[index + 1]
  if mine then later(LEASES, text(now + tonumber(ARGV[6])), id) end
  push(answers, mine and 1 or got[2] == 'cancelled' and 2 or 0)
end
move()
return {unpack(answers)}
