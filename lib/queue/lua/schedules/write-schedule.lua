-- Stores a schedule, or takes it away. What is said again, as by each process that starts, does not put off
-- what is due already.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  name
-- ARGV[7]  content; '' to take it away
-- ARGV[8]  the next time
-- ARGV[9]  with what a content begins that is due at the same times
-- Result   1 if there was one of that name, otherwise 0
-- Errors   '!' for a key of another type; those of Redis

--- @include "../includes/base"

local name, content, following, times = unpack(ARGV, 6, 9)
local before = look('HGET', META .. ':schedules', name)
if areUnfit(META .. ':due') then return UNFIT end
local existed = type(before) == 'string' and 1 or 0
if content == '' then
  call('HDEL', META .. ':schedules', name)
  call('ZREM', META .. ':due', name)
else
  call('HSET', META .. ':schedules', name, content)
  local due = call('ZSCORE', META .. ':due', name)
  due = (type(due) == 'string' or type(due) == 'number') and finite(due)
  if due and due <= tonumber(following) and existed == 1 and string.sub(before, 1, #times) == times then following = text(due) end
  call('ZADD', META .. ':due', following, name)
  try('PUBLISH', WAKE, 'ready')
end
return existed
