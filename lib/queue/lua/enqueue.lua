-- Adds tasks to the queue, and wakes workers.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then as in `includes/enter.lua`; the first task begins at ARGV[8]
-- Result   as in `includes/enter.lua`
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/rare-tell"
--- @include "includes/moves"

local FIRST = 8
local function advance() end
--- @include "includes/enter"
