-- Adds the task of a due schedule to the queue. Each time gets exactly one task, even if the task has already
-- ended and was deleted.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  ''
-- ARGV[7]  id of this call, as in `includes/enter.lua`
-- ARGV[8]  name of the schedule
-- ARGV[9]  the time that is due
-- ARGV[10] the next time; '' if there are no more times
-- ARGV[11] the schedule's content
-- ARGV[12] the task, as in `includes/enter.lua`
-- Result   {'over'} if another process has done it or the schedule has changed; otherwise as in
--          `includes/enter.lua`
-- Errors   '!' if a key has another type; Redis errors

--- @include "../includes/base"
--- @include "../includes/rare-tell"
--- @include "../includes/moves"

local schedule, due, following, content = unpack(ARGV, 8, 11)
local score = look('ZSCORE', META .. ':due', schedule)
local stored = look('HGET', META .. ':schedules', schedule)
if unfit then return UNFIT end
if type(score) ~= 'string' and type(score) ~= 'number' then return {'over'} end
if shown(score) ~= due or stored ~= content then return {'over'} end
local function advance()
  if following == '' then
    call('ZREM', META .. ':due', schedule)
    call('HDEL', META .. ':schedules', schedule)
  else
    call('ZADD', META .. ':due', following, schedule)
  end
end
local FIRST = 12
--- @include "../includes/enter"
