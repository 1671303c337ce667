-- Publishes events of a channel without history in order, on the node of a cluster that has the key.
--
-- KEYS[1]  a key of the channel, which selects the node
-- ARGV[1]  channel
-- ARGV[2]  the first message; the others follow
-- Result   the number of receivers of each message
-- Errors   those of Redis; the messages before the refused one are published

local receivers = {}
for index = 2, #ARGV do receivers[index - 1] = redis.call('PUBLISH', ARGV[1], ARGV[index]) end
return receivers
