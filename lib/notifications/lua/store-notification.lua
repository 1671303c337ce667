-- Stores a notification for a user. If the answer is lost, ioredis sends the call again: then the script finds
-- the stored notification.
--
-- KEYS[1]  the list of the user's notifications
-- ARGV[1]  the notification as JSON
-- ARGV[2]  index of the last notification that is kept
-- ARGV[3]  seconds after which the list expires
-- Result   1; 0 if it was already stored
-- Errors   Redis errors

local newest = redis.call('LRANGE', KEYS[1], 0, 19)
for _, stored in ipairs(newest) do
  if stored == ARGV[1] then return 0 end
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
