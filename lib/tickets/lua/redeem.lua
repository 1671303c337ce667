-- Takes a ticket for one stream. The first call binds the ticket to its token. Later calls need the same token, so a call that
-- is sent again has the same effect.
--
-- KEYS[1]  the ticket
-- ARGV[1]  hash of the client's token
-- ARGV[2]  random id of the stream
-- ARGV[3]  milliseconds after which the ticket expires
-- ARGV[4]  id of the newest revocation with which the ticket was compared
-- Result   1; 0 if the ticket is unknown, or another client has it
-- Errors   Redis errors

--- @include "includes/base"

local _, token, _, rights = open(KEYS[1])
if not token or (token ~= '-' and token ~= ARGV[1]) then return 0 end
store(KEYS[1], ARGV[4], ARGV[1], ARGV[2], rights, ARGV[3])
return 1
