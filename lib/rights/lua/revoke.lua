-- Stores a revocation, and tells all processes that it exists. If the answer is lost, ioredis sends the call
-- again: then the script finds the stored revocation.
--
-- The notice comes first, because an ACL rule can deny it. If Redis then refuses to store the revocation, the
-- notice has no effect: processes act only on what they read.
--
-- KEYS[1]  the stream of revocations
-- ARGV[1]  channel of the notice
-- ARGV[2]  target as JSON
-- ARGV[3]  ms in which new streams are refused; 0 for none
-- ARGV[4]  id of the call
-- ARGV[5]  instance that called
-- ARGV[6]  maximum number of revocations
-- ARGV[7]  ms for which a revocation is kept at least
-- ARGV[8]  current time in ms for ioredis-mock; otherwise ''
-- Result   the number of connections that got the notice; -1 if the revocation was already stored
-- Errors   Redis errors. Then nothing is stored.

--- @include "includes/base"

local now, forMs, keepMs = clock(ARGV[8]), tonumber(ARGV[3]) * 1.0, tonumber(ARGV[7]) * 1.0
local newest = 0
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 20)) do
  local id, revocation = open(entry)
  newest = math.max(newest, id)
  if string.match(revocation, '^%d+ %d+ (%S+)') == ARGV[4] then return -1 end
end
local receivers = redis.call('PUBLISH', ARGV[1], text(now))
local revocation = text(now) .. ' ' .. text(forMs) .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[2]
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[6], text(math.max(now, newest + 1)), 'r', revocation)
-- The revocation is stored, so a denied command must not fail the call any more. ioredis-mock has no XDEL.
local oldest = ARGV[8] == '' and redis.pcall('XRANGE', KEYS[1], '-', '+', 'COUNT', 50) or {}
for _, entry in ipairs(oldest) do
  local id, old = open(entry)
  local at, duration = string.match(old, '^(%d+) (%d+) ')
  if now - id > keepMs and (not at or at + duration < now) then redis.pcall('XDEL', KEYS[1], entry[1]) end
end
local left = redis.pcall('PTTL', KEYS[1])
if type(left) == 'number' then redis.pcall('PEXPIRE', KEYS[1], text(math.max(forMs + keepMs, left))) end
return receivers
