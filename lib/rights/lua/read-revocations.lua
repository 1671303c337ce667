-- Reads one page of revocations.
--
-- KEYS[1]  the stream of revocations
-- ARGV[1]  id of the first entry to read; '0' for the oldest entry
-- ARGV[2]  maximum number of entries
-- ARGV[3]  current time in ms for ioredis-mock; otherwise ''
-- Result   time in ms; then for each entry its id and its text, oldest first
-- Errors   Redis errors

--- @include "includes/base"

local reply = {text(clock(ARGV[3]))}
local entries
if ARGV[3] == '' then
  entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
else
  -- ioredis-mock understands only the time of an id.
  entries = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], string.match(ARGV[1], '^%d+'), '+')) do
    if array(entry)[1] == ARGV[1] then entries = {} end
    entries[#entries + 1] = entry
  end
end
for index, entry in ipairs(entries) do
  if index > tonumber(ARGV[2]) then break end
  local _, revocation, id = open(entry)
  reply[#reply + 1] = id
  reply[#reply + 1] = revocation
end
return {unpack(reply)}
