-- Cancels a task that has not ended.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  id
-- ARGV[7]  message
-- ARGV[8]  how long the cancelled task is kept, in ms
-- Result   1; 0 if the task has ended in another way; 2 if the task does not exist
-- Errors   '!' if a key has another type; Redis errors

--- @include "includes/base"
--- @include "includes/tell"
--- @include "includes/moves"
--- @include "includes/ends"
--- @include "includes/conclude"

local id = ARGV[6]
local got = fields(TASK .. id, 'status', 'progress', 'attempt', 'watched', 'once', 'queue', 'options', 'payload', 'data', 'error')
if not got[1] or got[6] ~= NAME then return 2 end
if isOver(got[1]) then return got[1] == 'cancelled' and 1 or 0 end
lookAt('cancelled')
if areUnfit(READY, DELAYED, LEASES) then return UNFIT end
insist()
-- The task's own value applies, otherwise the queue's value. A value of more than 11 digits is invalid.
local ttl = got[7] and string.match(got[7], '"resultTtlMs":(%d+)') or ARGV[8]
if #ttl > 11 then ttl = ARGV[8] end
leave(READY, id)
leave(DELAYED, id)
leave(LEASES, id)
conclude(id, {status = 'cancelled', progress = got[2] or '0', message = ARGV[7], attempt = got[3] or '0', watched = got[4],
  once = got[5], payload = got[8], stored = lengthOf(got[9], got[10], got[7])}, ttl)
move()
finish()
try('PUBLISH', WAKE, 'cancel ' .. id)
return 1
