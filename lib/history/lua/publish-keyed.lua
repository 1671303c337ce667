-- Publishes events of a channel without history in order, on the cluster node that has the key.
--
-- KEYS[1]  a key of the channel, which selects the node
-- ARGV[1]  channel
-- ARGV[2]  the first message; the others follow
-- Result   the number of receivers of each message
-- Errors   Redis errors; messages before the refused message are published

local receivers = {}
for index = 2, #ARGV do receivers[index - 1] = redis.call('PUBLISH', ARGV[1], ARGV[index]) end
return receivers
