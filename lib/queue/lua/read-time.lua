-- Tells Redis' time, by which schedules are due.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`
-- Result   the time in ms
-- Errors   those of Redis

--- @include "includes/base"

return NOW
