-- Releases the ticket of a stream that has ended.
--
-- KEYS[1]  the ticket
-- ARGV[1]  id of the stream
-- ARGV[2]  milliseconds after which the ticket expires; 0 deletes it
-- ARGV[3]  '1' if the stream never opened: the ticket is unused again
-- Result   1; 0 if the ticket is gone, or a newer stream of the client has it
-- Errors   Redis errors

--- @include "includes/base"

local revocation, _, stream, rights = open(KEYS[1])
if stream ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
-- If Redis is out of memory, it refuses SET as the first write of a script, but allows it after PEXPIRE.
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[3] == '1' then store(KEYS[1], revocation, '-', '-', rights, ARGV[2]) end
return 1
