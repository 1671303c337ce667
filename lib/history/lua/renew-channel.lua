-- Renews the lease of the writer of a channel.
--
-- KEYS[1]  the hash of the log (`includes/log.lua`)
-- KEYS[2]  the log
-- ARGV[1]  token of the lease
-- ARGV[2]  length of the lease in ms
-- ARGV[3]  current time in ms for ioredis-mock; otherwise ''
-- Result   'ok', 'completed' (the channel has ended), 'taken' (it has another writer) or 'lost' (it has no
--          writer)
-- Errors   Redis errors

--- @include "includes/log"

local got = fields('end', 'w')
if isEnding(got[1]) then return 'completed' end
if got[2] ~= ARGV[1] then return got[2] and 'taken' or 'lost' end
redis.call('HSET', KEYS[1], 'wt', text(clock(ARGV[3]) + tonumber(ARGV[2])))
-- The hash must outlive a writer that publishes nothing for a long time.
if redis.call('PTTL', KEYS[1]) < 90000000 then redis.call('PEXPIRE', KEYS[1], '90000000') end
return 'ok'
