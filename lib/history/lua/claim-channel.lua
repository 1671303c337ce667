-- Makes the owner of a lease the only writer of a channel.
--
-- KEYS[1]  the hash of the log (`includes/log.lua`)
-- KEYS[2]  the log
-- ARGV[1]  token of the lease
-- ARGV[2]  length of the lease in ms
-- ARGV[3]  epoch for a new log
-- ARGV[4]  how long the place of an empty log is kept, in ms
-- ARGV[5]  current time in ms for ioredis-mock; otherwise ''
-- Result   'ok', 'completed' (the channel has ended) or 'taken' (it has another writer)
-- Errors   Redis errors

--- @include "includes/log"

local got = redis.pcall('HMGET', KEYS[1], 'e', 'end', 'w', 'wt', 'o')
if isBroken(got, 1, 5) or isAlone(got, 1, 2, 3) then
  -- Another program wrote this hash. It must not become part of the new log.
  redis.call('DEL', KEYS[1])
  got = {}
elseif got.err then
  return got
end
got = values(got, 5)
local now = clock(ARGV[5])
if isEnding(got[2]) then return 'completed' end
if got[3] and got[3] ~= ARGV[1] then
  -- If the lease has expired, the next read marks the channel as broken.
  return now > (tonumber(got[4]) or 0) and 'completed' or 'taken'
end
if not isPlace(got[1], got[5]) then
  redis.call('HSET', KEYS[1], 'e', ARGV[3], 'o', '0')
  redis.call('DEL', KEYS[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('HSET', KEYS[1], 'k', '1', 'r', '0', 'w', ARGV[1], 'wt', text(now + tonumber(ARGV[2])))
return 'ok'
