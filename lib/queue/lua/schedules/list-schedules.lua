-- Lists schedules in the order of their next times.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  number of schedules to skip
-- ARGV[7]  maximum number of schedules to return
-- Result   '', then the name, next time and content of each schedule
-- Errors   '!' if a key has another type; Redis errors

--- @include "../includes/base"

local from, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local reply, due = {''}, look('ZRANGE', META .. ':due', text(from), text(from + most - 1), 'WITHSCORES')
for index = 1, #due, 2 do
  local content = look('HGET', META .. ':schedules', due[index])
  if type(content) == 'string' and scoreOf(due[index + 1]) then push(reply, due[index], shown(due[index + 1]), content) end
end
if unfit then return UNFIT end
return {unpack(reply)}
