-- Renews the leases of tasks.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  length of a lease in ms
-- ARGV[7]  the first task's id; its token and then the ids and tokens of the others follow
-- Result   for each task 1 if the worker still holds it, 2 if it was cancelled, otherwise 0
-- Errors   '!' if a key has another type; Redis errors

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
