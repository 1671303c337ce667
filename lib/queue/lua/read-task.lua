-- Reads a task.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  id
-- Result   the number of events on the task's channel so far (0 if events are not kept), and the task's fields
-- Errors   Redis errors

--- @include "includes/base"
--- @include "../../redis/lua/includes/place"

local key, id = TASK .. ARGV[6], ARGV[6]
local got, isOther = fields(key, 'watched', 'status', 'startedAt')
local all = isOther and {} or call('HGETALL', key)
local at = try('HMGET', POS .. id, 'e', 'o')
local seq = not at.err and isPlace(at[1], at[2]) and at[2] or '0'
if KEEP == '' then
  seq = '0'
elseif not got[1] then
  -- The number of events that its log would have.
  seq = 1
  if got[3] then seq = seq + 1 end
  if got[2] == 'succeeded' or got[2] == 'failed' or got[2] == 'cancelled' then seq = seq + 1 end
  seq = text(seq)
end
return {seq, unpack(all)}
