-- Advances a schedule to its next time.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  name
-- ARGV[7]  the time that was due
-- ARGV[8]  the next time; '' if there are no more times
-- Result   1; 0 if another process has done it
-- Errors   '!' if a key has another type; Redis errors

--- @include "../includes/base"

local name, due = ARGV[6], META .. ':due'
local score = look('ZSCORE', due, name)
look('HLEN', META .. ':schedules')
if unfit then return UNFIT end
if type(score) ~= 'string' and type(score) ~= 'number' then return 0 end
if shown(score) ~= ARGV[7] then return 0 end
if ARGV[8] == '' then
  call('ZREM', due, name)
  call('HDEL', META .. ':schedules', name)
else
  call('ZADD', due, ARGV[8], name)
end
return 1
