-- Reads one page of a log, and the newest place of the log. If the lease of a channel's writer has expired,
-- it marks the channel as broken.
--
-- All entries are in one string, because one string costs ioredis less than many values. Publishers do not
-- know the separator, so nothing is escaped.
--
-- KEYS[1]  the hash of the log (`includes/log.lua`)
-- KEYS[2]  the log
-- ARGV[1]  epoch to read; '' reads no events
-- ARGV[2]  offset to read after
-- ARGV[3]  maximum number of events
-- ARGV[4]  maximum bytes of data; a page has at least one event
-- ARGV[5]  maximum age of events in ms
-- ARGV[6]  channel
-- ARGV[7]  current time in ms for ioredis-mock; otherwise ''
-- ARGV[8]  separator
-- Result   a list: 'invalid' if the log cannot be read, otherwise ''; epoch, or '' for no log; newest offset;
--          ending; '1' if the channel is finite; oldest offset in the log; time in ms; stamp of the newest
--          event, or '' if it is unknown; the entries, each as "id ending event", separator, data, separator
-- Errors   Redis errors

--- @include "includes/log"

local now, stamp = clock(ARGV[7])
local maxAge = tonumber(ARGV[5])
local got = redis.pcall('HMGET', KEYS[1], 'e', 'o', 'end', 'c', 'k', 'w', 'wt', 't', 's')
local length = redis.pcall('XLEN', KEYS[2])
if isBroken(got, 1, 2) or isWrongType(length) then return {'invalid', '', '0', '', '', '1', text(now), '', ''} end
if got.err then return got end
got = values(got, 9)
if not got[1] then return {'', '', '0', '', '', '1', text(now), '', ''} end
local log = {epoch = got[1], top = tonumber(got[2]), stamp = checkStamp(got[9]), checkpoints = got[4], special = got[5]}
local ending = isEnding(got[3]) and got[3]
if type(length) == 'table' then
  -- An ACL rule denies XLEN. Offsets have no holes, so the oldest entry gives the length.
  local oldest = redis.pcall('XRANGE', KEYS[2], '-', '+', 'COUNT', '1')
  if isWrongType(oldest) then return {'invalid', '', '0', '', '', '1', text(now), '', ''} end
  if oldest.err then length = log.top
  else length = #oldest > 0 and log.top + 1 - tonumber((open(oldest[1]))) or 0 end
end
if got[6] and not ending and now > (tonumber(got[7]) or 0) then
  -- The writer's lease has expired. If Redis refuses this (ACL, out of memory), the next reader tries again.
  local isDone, done = pcall(append, log, {channel = ARGV[6], event = '', data = '', ending = 'broken', maxLength = 1000000,
    maxAge = maxAge, producer = '', sequence = '', finite = '1', now = now, stamp = stamp})
  if isDone and done[1] == 'ok' then
    log.top, log.stamp, length = log.top + 1, stamp, length + 1
    ending = 'broken'
  end
end
if not got[8] then
  -- Extend the life of the hash while clients read, but not with each read. A replica refuses this, but can still be read.
  local life, left = maxAge * 1.5 + 86400000, redis.pcall('PTTL', KEYS[1])
  if type(left) ~= 'number' or left >= 0 and left < life / 2 then redis.pcall('PEXPIRE', KEYS[1], text(life)) end
end
-- Events that are too old count as trimmed, even if nothing was published after them.
local gone = math.max(log.top - length, expired(log, now, maxAge), 0)
local found = {}
local function reply()
  return {'', log.epoch, text(log.top), ending or '', got[5] or '', text(gone + 1), text(now), log.stamp, table.concat(found, ARGV[8])}
end
if ARGV[1] ~= log.epoch then return reply() end
local count, limit, step = tonumber(ARGV[3]), tonumber(ARGV[4]), 2
local after, bytes = math.max(tonumber(ARGV[2]), gone), 0
while count > 0 and bytes < limit and after < log.top do
  local wanted = math.min(step, count)
  local entries = redis.call('XRANGE', KEYS[2], text(after + 1), text(log.top), 'COUNT', text(wanted))
  for _, entry in ipairs(entries) do
    local offset, values, id = open(entry)
    -- If another program has reduced the newest offset, two events can have the same offset. The later one counts.
    if tonumber(offset) == after and #found > 0 then found[#found], found[#found - 1] = nil, nil end
    after = tonumber(offset)
    push(found, id .. ' ' .. (string.match(values['end'], '^%a+$') or '') .. ' ' .. values.e, values.d)
    bytes = bytes + #values.d
    if bytes >= limit then break end
  end
  if #entries < wanted then break end
  count = count - wanted
  -- Small events are read in larger steps. Large events are read in small steps, so that they do not block the server.
  if bytes * 4 < limit then step = math.min(step * 2, 64) end
end
return reply()
