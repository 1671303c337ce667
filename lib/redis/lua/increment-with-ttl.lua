-- Counts, and lets the counter expire.
--
-- KEYS[1]  the counter
-- ARGV[1]  seconds after which it expires
-- Result   the new count
-- Errors   those of Redis

local count = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return count
