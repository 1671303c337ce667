-- A table `rare` with functions of `tell.lua`, which makes them when one of them is first called. Lua makes
-- each function of a script anew in every call: for a script that moves one task, that would be half of its
-- cost.

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
