-- Lists schedules in the order of their next times.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  how many to leave out
-- ARGV[7]  how many to answer at most
-- Result   '', then of each its name, next time and content
-- Errors   '!' for a key of another type; those of Redis

--- @include "../includes/base"

local from, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local reply, due = {''}, look('ZRANGE', META .. ':due', text(from), text(from + most - 1), 'WITHSCORES')
for index = 1, #due, 2 do
  local content = look('HGET', META .. ':schedules', due[index])
  if type(content) == 'string' and scoreOf(due[index + 1]) then push(reply, due[index], shown(due[index + 1]), content) end
end
if unfit then return UNFIT end
return {unpack(reply)}
