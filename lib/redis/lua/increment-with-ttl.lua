-- Increments a counter, and sets when it expires.
--
-- KEYS[1]  the counter
-- ARGV[1]  seconds after which it expires
-- Result   the new count
-- Errors   Redis errors

local count = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return count
