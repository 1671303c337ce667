-- Extends a ticket while its stream is open.
--
-- KEYS[1]  the ticket
-- ARGV[1]  id of the stream
-- ARGV[2]  milliseconds after which the ticket expires
-- ARGV[3]  id of the newest revocation with which the ticket was compared; '' if it has not changed
-- Result   1; 0 if the ticket is gone, or a newer stream of the client has it
-- Errors   Redis errors

--- @include "includes/base"

local _, token, stream, rights = open(KEYS[1])
if stream ~= ARGV[1] then return 0 end
-- If Redis is out of memory, it refuses SET as the first write of a script, but allows it after PEXPIRE.
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then store(KEYS[1], ARGV[3], token, stream, rights, ARGV[2]) end
return 1
