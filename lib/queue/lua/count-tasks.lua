-- Counts tasks.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`
-- Result   the number of tasks in each state, '1' if the queue is paused, and the counters of the queue
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"

local reply = {}
for _, set in ipairs({'ready', 'delayed', 'leases', 'unreadable'}) do push(reply, look('ZCARD', META .. ':' .. set)) end
for _, status in ipairs({'succeeded', 'failed', 'cancelled'}) do
  push(reply, look('ZCOUNT', META .. ':' .. status, NOW, '+inf'))
end
local got, isOther = fields(META, 'paused', 'enqueued', 'succeeded', 'failed', 'cancelled', 'retried', 'lost', 'refused', 'unreadable',
  'unknownKind')
if unfit or isOther then return UNFIT end
reply[8] = got[1] and '1' or '0'
for index = 2, 10 do push(reply, finite(got[index]) and got[index] or '0') end
return {unpack(reply)}
