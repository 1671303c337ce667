-- Puts the task of a schedule in line that is due. There is one task for each time, however soon it is done
-- and forgotten.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  ''
-- ARGV[7]  the call, as in `includes/enter.lua`
-- ARGV[8]  name of the schedule
-- ARGV[9]  the time that is due
-- ARGV[10] the next time; '' for none
-- ARGV[11] the schedule's content
-- ARGV[12] the task, as in `includes/enter.lua`
-- Result   {'over'} if somebody else has done it, or something else is scheduled by now; otherwise that of
--          `includes/enter.lua`
-- Errors   '!' for a key of another type; those of Redis

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
