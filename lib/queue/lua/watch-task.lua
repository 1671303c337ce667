-- Creates the log of a task, if the task has no log.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  id
-- Result   1 if the script created the log, otherwise 0
-- Errors   Redis errors

--- @include "includes/base"
--- @include "includes/tell"

return watch(ARGV[6]) and 1 or 0
