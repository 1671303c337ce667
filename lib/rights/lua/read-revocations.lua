-- Reads one page of revocations.
--
-- KEYS[1]  the stream of revocations
-- ARGV[1]  id of the first revocation to read
-- ARGV[2]  maximum number of revocations
-- ARGV[3]  current time in ms for ioredis-mock; otherwise ''
-- Result   time in ms; then for each revocation its id and its text, oldest first
-- Errors   Redis errors

--- @include "includes/base"

local reply = {text(clock(ARGV[3]))}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])) do
  local id, revocation = open(entry)
  reply[#reply + 1] = text(id)
  reply[#reply + 1] = revocation
end
return {unpack(reply)}
