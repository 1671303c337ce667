-- Stores an unused ticket.
--
-- KEYS[1]  the ticket
-- ARGV[1]  the rights of the ticket as JSON
-- ARGV[2]  milliseconds after which it expires
-- Result   1
-- Errors   Redis errors

redis.call('HSET', KEYS[1], 'rights', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
