-- Reads the time of Redis, which decides when schedules are due.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`
-- Result   the time in ms
-- Errors   Redis errors

--- @include "includes/base"

return NOW
