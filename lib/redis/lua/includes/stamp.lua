-- Shared by all scripts that append to a log. A stamp is seven digits of the time at which the event was
-- published: the last seven digits of the reply to `TIME`, which is the seconds and then the microseconds
-- without leading zeros. It distinguishes the event from another event at the same offset. A stamp stays text,
-- because formatting a number costs as much as a command.

-- A stamp as it was stored; empty if the hash has no stamp, or another program has written it.
local function checkStamp(stored)
  return type(stored) == 'string' and string.find(stored, '^%d%d%d%d%d%d%d$') and stored or ''
end

-- A stamp that differs from the given one. An event has it as the stamp of the event before it if Redis has lost an event.
local function otherThan(stamp) return stamp == '0000001' and '0000002' or '0000001' end
