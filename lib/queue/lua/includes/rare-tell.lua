-- Defines the table `rare` with the functions of `tell.lua`. It creates these functions when one of them is
-- first called. Lua creates each function of a script again in every call. For a script that moves one task,
-- that would be half of the cost.

--- @include "base"

local rare = setmetatable({}, {__index = function(made, name)
  --- @include "tell"
  made.tell = tell
  made.watch = watch
  made.hasLog = hasLog
  made.isHeard = isHeard
  made.isEnding = isEnding
  return rawget(made, name) or error(name)
end})
