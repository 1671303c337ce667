-- Stores and publishes the progress and output that a task reports.
--
-- KEYS     as in `includes/base.lua`
-- ARGV     the five of `includes/base.lua`, then:
-- ARGV[6]  id
-- ARGV[7]  token of the attempt; '' for a caller without one
-- ARGV[8]  number of the report. A report that is sent again has no effect.
-- ARGV[9]  progress; '' for none
-- ARGV[10] message
-- ARGV[11] data as JSON; '' for none
-- ARGV[12] name of the first output event; its data, and the names and data of the others follow
-- Result   1; 0 if the task has ended or another worker holds it; 2 if it does not exist; 3 if it was
--          cancelled
-- Errors   Redis errors

--- @include "includes/base"
--- @include "includes/tell"

local id, token, sequence, progress, message, data = unpack(ARGV, 6, 11)
local key = TASK .. id
local got = fields(key, 'status', 'token', 'said', 'attempt', 'queue')
if not got[1] and token == '' then return 2 end
-- Without a token, only tasks of this queue can be reported.
if token == '' and got[5] ~= NAME then return 0 end
if not got[1] or isOver(got[1]) or (token ~= '' and got[2] ~= token) then
  if token ~= '' then try('HINCRBY', META, 'refused', '1') end
  return got[1] == 'cancelled' and 3 or 0
end
-- A report that was sent again has no effect. It can also arrive after later reports.
local teller, last = string.match(got[3] or '', '^(%S+) (%d+)$')
if teller and teller == token and tonumber(sequence) <= tonumber(last) then return 1 end
watch(id)
if token ~= '' then call('HSET', key, 'said', token .. ' ' .. sequence) end
for index = 12, #ARGV, 2 do
  append(id, ARGV[index], function() return ARGV[index + 1] end)
end
if progress ~= '' then
  call('HSET', key, 'progress', progress, 'message', message)
  if data ~= '' then call('HSET', key, 'data', data) end
  tell(id, 'progress', {status = got[1], progress = progress, message = message, attempt = got[4] or '0', data = data ~= '' and data})
end
return 1
