-- Takes a ticket for one stream. The first call binds the ticket to its token. Later calls need the same token, so a call that
-- is sent again has the same effect.
--
-- KEYS[1]  the ticket
-- ARGV[1]  hash of the client's token
-- ARGV[2]  random id of the stream
-- ARGV[3]  milliseconds after which the ticket expires
-- Result   1; 0 if the ticket is unknown, or another client has it
-- Errors   Redis errors

if redis.call('HEXISTS', KEYS[1], 'rights') == 0 then return 0 end
local used = redis.call('HEXISTS', KEYS[1], 'token') == 1
if used and redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'stream', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
