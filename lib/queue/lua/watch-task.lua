-- Makes the log of a task, if it has none.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then:
-- ARGV[6]  id
-- Result   1 if there was anything to tell that had not been told, otherwise 0
-- Errors   those of Redis

--- @include "includes/base"
--- @include "includes/tell"

return watch(ARGV[6]) and 1 or 0
