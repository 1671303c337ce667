-- Stores or removes a schedule. Each process stores its schedules again when it starts: this does not postpone
-- a time that is already due.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  name
-- ARGV[7]  content; '' to remove the schedule
-- ARGV[8]  the next time
-- ARGV[9]  prefix of every content that has the same times
-- Result   1 if a schedule of this name existed, otherwise 0
-- Errors   '!' if a key has another type; Redis errors

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
