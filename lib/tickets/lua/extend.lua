-- Extends a ticket while its stream is open.
--
-- KEYS[1]  the ticket
-- ARGV[1]  id of the stream
-- ARGV[2]  milliseconds after which the ticket expires
-- Result   1; 0 if the ticket is gone, or a newer stream of the client has it
-- Errors   Redis errors

if redis.call('HGET', KEYS[1], 'stream') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
