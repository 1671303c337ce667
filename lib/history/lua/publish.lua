-- Appends an event to the log of its channel and publishes it, in one atomic step. An event that is sent again
-- takes effect once.
--
-- Almost every call only appends, so this case comes first. Measurements show that each argument, string and
-- function costs time there. So this part includes no file, and repeats the code of `clock()`, `isPlace()`,
-- `checkStamp()` and `add()`.
--
-- KEYS[1]  the hash of the log (`includes/log.lua`)
-- KEYS[2]  the log
-- ARGV[1]  channel
-- ARGV[2]  event
-- ARGV[3]  data
-- ARGV[4]  maximum number of events in the log
-- ARGV[5]  producer
-- ARGV[6]  the number of this event
-- ARGV[7]  maximum age of events in ms
-- ARGV[8]  epoch for a new log. Directly after it: the epoch of the producer's last acknowledged event on
--          this channel; or `+` if the producer's previous event has no answer yet; or nothing. The following
--          arguments may be omitted.
-- ARGV[9]  the number of the event that ARGV[8] refers to. Defaults to one less than ARGV[6].
-- ARGV[10] how this event ends the channel: 'completed', 'broken' or ''
-- ARGV[11] lease of the writer that has the whole channel, or ''
-- ARGV[12] '1' if the channel is finite, or ''
-- ARGV[13] current time in ms for ioredis-mock; otherwise ''
-- Result   {'ok', epoch, id of the entry, receivers}; the id is empty if the event was sent again and is not
--          in the log. Or {'early'} (the previous event must come first), {'completed'} (the channel has
--          ended), {'taken'} (the channel has a writer), {'lost'} (Redis lost the writer's lease or an event
--          of the writer)
-- Errors   Redis errors. If Redis refuses PUBLISH, nothing changes.

local key, args, call, pcall, find = KEYS[1], ARGV, redis.call, redis.pcall, string.find
local producer, sequence, ending = 'p:' .. args[5], tonumber(args[6]), args[10]
local got = pcall('HMGET', key, 'e', 'o', 'r', producer, 's')
-- As clock(), and a producer's time to the second.
local now, seen, stamp = args[13]
if now and now ~= '' then
  now, seen, stamp = tonumber(now), now, string.sub(now, -7)
else
  local time = call('TIME')
  now, seen, stamp = time[1] * 1000 + time[2] / 1000, time[1] .. '000', string.sub(time[1] .. time[2], -7)
end
local published = type(got[4]) == 'string' and got[4]
local last = published and tonumber(string.match(published, '^%d+')) or 0
local epoch, top, before, lost = got[1], got[2], got[5], false
if #args[8] > 8 and sequence > last + 1 and (tonumber(args[9] or '') or sequence - 1) > last then
  -- The previous event has not arrived. This event overtook it, because the server did not know the script.
  if #args[8] == 9 then return {'early'} end
  -- Redis acknowledged the previous event and lost it. Clients may have missed it, so this event marks the loss.
  lost = string.sub(args[8], 9) == epoch
end
if (not ending or ending == '' and args[11] == '' and args[12] == '') and args[5] ~= '' and now < (tonumber(got[3]) or 0)
  and sequence > last
  -- As isPlace() and checkStamp().
  and type(epoch) == 'string' and #epoch == 8 and epoch ~= '00000000' and type(top) == 'string' and #top < 15
  and type(before) == 'string' and #before == 7 and find(epoch .. ' ' .. top .. ' ' .. before, '^[0-9a-f]+ %d+ %d+$') then
  local offset = string.format('%.0f', top + 1)
  local id = offset .. '-' .. before .. stamp
  if lost then id = offset .. '-' .. (before == '0000001' and '0000002' or '0000001') .. stamp end
  -- The steps that can fail come first. They are undone if PUBLISH is refused.
  call('HSET', key, 'o', offset, 's', stamp, producer, args[6] .. ' ' .. seen)
  local receivers = pcall('PUBLISH', args[1], '\30sse1\n' .. epoch .. ' ' .. id .. '\n' .. args[2] .. '\n' .. args[3])
  if type(receivers) == 'table' then
    call('HSET', key, 'o', top, 's', before)
    if published then call('HSET', key, producer, published) else call('HDEL', key, producer) end
    return receivers
  end
  local identity = args[5] .. ' ' .. args[6]
  local added = pcall('XADD', KEYS[2], 'MAXLEN', args[4], id, 'e', args[2], 'd', args[3], 'p', identity)
  if type(added) == 'table' and added.err then
    -- As add().
    if not string.find(added.err, 'WRONGTYPE', 1, true) and not string.find(added.err, 'equal or smaller', 1, true) then
      return added
    end
    call('DEL', KEYS[2])
    call('XADD', KEYS[2], 'MAXLEN', args[4], id, 'e', args[2], 'd', args[3], 'p', identity)
    call('PEXPIRE', KEYS[2], string.format('%.0f', args[7] * 1.5))
  end
  return {'ok', epoch, id, receivers}
end
--- @include "includes/log"
got = redis.pcall('HMGET', KEYS[1], 'e', 'o', 'end', 'c', 'w', 'k', 's')
if isBroken(got, 1, 2) or isAlone(got, 1, 3, 5) or #(values(got, 7)[2] or '') > 14 then
  -- Another program wrote this hash. It must not become part of the new log.
  redis.call('DEL', KEYS[1])
  got, last = {}, 0
elseif got.err then
  return got
end
got = values(got, 7)
local log = {epoch = got[1], top = tonumber(got[2] or '0'), stamp = got[7], checkpoints = got[4], special = got[6]}
local new = {channel = ARGV[1], event = ARGV[2], data = ARGV[3], maxLength = tonumber(ARGV[4]), producer = ARGV[5],
  sequence = ARGV[6], maxAge = tonumber(ARGV[7]), ending = ARGV[10] or '', finite = ARGV[12] or '', now = now, stamp = stamp, lost = lost}
if new.producer ~= '' and sequence <= last then
  -- The event is sent again, because its answer was lost. Find it in the log.
  local newest = '+'
  for _ = 1, 100 do
    local entries = redis.pcall('XREVRANGE', KEYS[2], newest, '-', 'COUNT', '10')
    if entries.err then break end
    for _, entry in ipairs(entries) do
      local offset, values, id = open(entry)
      if values.p == new.producer .. ' ' .. new.sequence then return {'ok', log.epoch, id, 0} end
      newest = text(tonumber(offset) - 1)
    end
    if #entries < 10 then break end
  end
  return {'ok', log.epoch, '', 0}
end
if isEnding(got[3]) then return {'completed'} end
-- A writer has exclusive use of its channel.
if (got[5] or '') ~= (ARGV[11] or '') then return {got[5] and 'taken' or 'lost'} end
-- A writer numbers its events without holes. So a hole means that Redis has lost an event.
if got[5] and new.ending ~= 'broken' and sequence > last + 1 then return {'lost'} end
if not log.epoch then
  log.epoch = string.sub(ARGV[8], 1, 8)
  log.fresh = true
end
return append(log, new)
