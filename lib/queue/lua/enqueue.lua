-- Puts tasks in line, and wakes workers.
--
-- KEYS     those of `includes/base.lua`
-- ARGV     five of `includes/base.lua`, then those of `includes/enter.lua`, whose first task begins at
--          ARGV[8]
-- Result   that of `includes/enter.lua`
-- Errors   '!' for a key of another type; those of Redis

--- @include "includes/base"
--- @include "includes/rare-tell"
--- @include "includes/moves"

local FIRST = 8
local function advance() end
--- @include "includes/enter"
