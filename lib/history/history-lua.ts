import { IS_PLACE, STAMP } from "../redis/place-lua.js";

/**
 * The scripts that touch a channel's history, as text; `docs/protocol.md` states what they do for other programs.
 *
 * The log is a stream, with the offsets as ids. The hash beside it says where the log stands:
 *
 * - `e` its epoch, `o` its newest offset, `s` the stamp of the newest event: by it, an event is told from another that Redis
 *   put at the same offset after a failover had lost the first one. The id of an entry has the stamps of the event before
 *   and of its own behind the offset (`lib/entry-id.ts`);
 * - `r` until when nothing but appending is to be done: 0 for a channel that is anything special;
 * - `c` two checkpoints "offset time offset time", by which age becomes a length;
 * - `end` how it was completed, `k` that it will be; `t` that it lives as long as the task whose channel it is; `w` and `wt` who writes it as a whole, and until when that counts;
 * - `p:<producer>` the number and the time of what that producer published last.
 *
 * It lives longer than the log, so that a reader that comes late learns that a log existed. Reading creates neither
 * key: a channel that never had an event has none. Another program may have written the fields, so they are checked
 * before use (`isPlace()`). Readers treat an invalid log as no log, and the next event begins a new log.
 *
 * KEYS are always the hash and the log. Lua of all servers and of ioredis-mock: no cjson, whole numbers of 32 bits, and
 * what is not there may be an object.
 */

const BASE = `
local unpack = unpack or table.unpack
local function text(number) return string.format('%.0f', number) end

-- The time in milliseconds, and the stamp of an event that is published now.
local function clock(given)
  if given and given ~= '' then return tonumber(given), string.sub(given, -7) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), string.sub(time[1] .. time[2], -7)
end
`;

const REST = `${IS_PLACE}${STAMP}
-- Adds an entry to the log; returns the error if Redis refuses it. If another program has written to the log, the log begins
-- with this event. Otherwise it would never keep one again.
local function add(maxAge, ...)
  local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', ...)
  if isSpoilt(added) then
    redis.call('DEL', KEYS[2])
    added = redis.pcall('XADD', KEYS[2], 'MAXLEN', ...)
    redis.call('PEXPIRE', KEYS[2], text(maxAge * 1.5))
  end
  return type(added) == 'table' and added.err and added or nil
end

-- The reply of HMGET, with false for a missing field.
local function values(got, count)
  for index = 1, count do
    if type(got[index]) ~= 'string' then got[index] = false end
  end
  return got
end

local function fields(...) return values(redis.call('HMGET', KEYS[1], ...), select('#', ...)) end

local function push(list, name, value)
  list[#list + 1] = name
  list[#list + 1] = value
end

-- A list within a list counts from 0 in ioredis-mock.
local function array(list)
  if type(list) == 'table' then return list end
  local copy = {}
  for index = 1, list.length do copy[index] = list[index - 1] end
  return copy
end

-- The offset of a log's entry, its fields, and its id, behind which ioredis-mock puts more.
local function open(entry)
  entry = array(entry)
  local values, flat = {e = '', d = '', p = '', ['end'] = ''}, array(entry[2])
  for index = 1, #flat, 2 do values[flat[index]] = flat[index + 1] end
  return string.match(entry[1], '^%d+'), values, string.match(entry[1], '^%d+%-%d+')
end

-- Producers come and go with every deploy.
local function forgetProducers(now)
  local all = redis.call('HGETALL', KEYS[1])
  for index = 1, #all, 2 do
    local seen = string.match(all[index], '^p:') and string.match(all[index + 1], ' (%d+)$')
    if seen and now - tonumber(seen) > 600000 then redis.call('HDEL', KEYS[1], all[index]) end
  end
end

-- The newest offset that is too old. A checkpoint says that all up to its offset came before its time; two are kept,
-- half the age apart, and what follows the newer one came before it was time for the next.
local function expired(log, now, maxAge)
  local a, at, b, bt = string.match(log.checkpoints or '', '^(%d+) (%d+) (%d+) (%d+)$')
  if not a then return 0 end
  if now - bt >= maxAge * 1.5 then return log.top end
  if now - bt >= maxAge then return tonumber(b) end
  if now - at >= maxAge then return tonumber(a) end
  return 0
end

-- Appends one event, with all that may be due. What could fail is tried first, and undone where the rest is refused.
local function append(log, new)
  local offset, now = text(log.top + 1), text(new.now)
  local keep = math.min(new.maxLength, log.top + 1 - expired(log, new.now, new.maxAge))
  local before = checkStamp(not log.fresh and log.stamp)
  if new.lost and before ~= '' then before = otherThan(before) end
  local id = offset .. '-' .. before .. new.stamp
  local changes = {'e', log.epoch, 'o', offset, 's', new.stamp}
  if new.producer ~= '' then push(changes, 'p:' .. new.producer, new.sequence .. ' ' .. now) end
  local checkpoints = log.checkpoints and string.match(log.checkpoints, '^%d+ %d+ %d+ %d+$')
  local at, b, bt = string.match(checkpoints or '0 0 0 ' .. now, '^%d+ (%d+) (%d+) (%d+)$')
  local rotate = not checkpoints or new.now - bt >= new.maxAge / 2
  if rotate then
    local nextTime = checkpoints and math.min(new.now, bt + new.maxAge / 2) or new.now
    push(changes, 'c', b .. ' ' .. bt .. ' ' .. text(log.top) .. ' ' .. text(nextTime))
    at, bt = bt, nextTime
  end
  local special = new.ending ~= '' or new.finite ~= '' or log.special
  local due = bt + new.maxAge / 2
  if at + new.maxAge > new.now then due = math.min(due, at + new.maxAge) end
  push(changes, 'r', special and '0' or text(due))
  if new.ending ~= '' then push(changes, 'end', new.ending) end
  if special then push(changes, 'k', '1') end
  local names = {}
  for index = 1, #changes, 2 do names[#names + 1] = changes[index] end
  local old = fields(unpack(names))
  redis.call('HSET', KEYS[1], unpack(changes))

  local entry, place = {'e', new.event, 'd', new.data}, log.epoch .. ' ' .. id
  if new.producer ~= '' then push(entry, 'p', new.producer .. ' ' .. new.sequence) end
  if new.ending ~= '' then
    push(entry, 'end', new.ending)
    place = place .. ' ' .. new.ending
  end
  local message = '\\30sse1\\n' .. place .. '\\n' .. new.event .. '\\n' .. new.data
  local receivers = redis.pcall('PUBLISH', new.channel, message)
  if type(receivers) == 'table' then
    -- The ACL refuses the channel: as if nothing had been.
    for index, name in ipairs(names) do
      if old[index] then
        redis.call('HSET', KEYS[1], name, old[index])
      elseif type(redis.pcall('HDEL', KEYS[1], name)) == 'table' then
        -- A reader need not have that right. An empty field counts as none.
        redis.call('HSET', KEYS[1], name, '')
      end
    end
    return receivers
  end
  if log.fresh then redis.call('DEL', KEYS[2]) end
  local refused = add(new.maxAge, text(keep), id, unpack(entry))
  if refused then return refused end
  if rotate then
    redis.call('PEXPIRE', KEYS[2], text(new.maxAge * 1.5))
    redis.call('PEXPIRE', KEYS[1], text(new.maxAge * 1.5 + 86400000))
    forgetProducers(new.now)
  end
  return {'ok', log.epoch, id, receivers}
end
`;

/**
 * ARGV: channel, event, data, most events kept, producer, its sequence, most ms kept, epoch of a new log; then, which may be
 * left out: the sequence of the last event of that producer on this channel that was acknowledged, ending, lease of the writer,
 * whether the channel is finite, now. Behind the epoch of a new log stands the epoch of the log of that acknowledged event, or
 * `+` if the producer's event before this one is still under way. The sequence of either is one less, if it is left out.
 *
 * Answers 'ok', epoch, id of the entry, receivers, or why not. Nearly always nothing but appending is to be done, and that
 * comes first. Each argument, string and function that it can do without was measured.
 */
export const PUBLISH: string = `
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
  -- The one before is still on its way: it was overtaken, while the server had forgotten this script.
  if #args[8] == 9 then return {'early'} end
  -- It was acknowledged, and Redis has lost it. Maybe no reader got it, and so this event has to tell.
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
  -- What could fail is tried first, and undone where what follows is refused.
  call('HSET', key, 'o', offset, 's', stamp, producer, args[6] .. ' ' .. seen)
  local receivers = pcall('PUBLISH', args[1], '\\30sse1\\n' .. epoch .. ' ' .. id .. '\\n' .. args[2] .. '\\n' .. args[3])
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
${BASE}${REST}
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
  -- Sent again, because the answer was lost: where is it?
  local newest = '+'
  for page = 1, 100 do
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
-- Who writes a channel as a whole has it alone.
if (got[5] or '') ~= (ARGV[11] or '') then return {got[5] and 'taken' or 'lost'} end
-- It numbers its events one by one: Redis has lost the one before.
if got[5] and new.ending ~= 'broken' and sequence > last + 1 then return {'lost'} end
if not log.epoch then
  log.epoch = string.sub(ARGV[8], 1, 8)
  log.fresh = true
end
return append(log, new)`;

/**
 * ARGV: epoch to read ('' reads no events), offset to read after, most events, most bytes of data, most ms kept,
 * channel, now, separator. Returns 'invalid' if the log cannot be read, else ''; epoch ('' for no log), newest
 * offset, ending, whether the channel is finite, oldest offset that is held, time, stamp of the newest event ('' if
 * unknown), and all entries in one string: "id ending event", separator, data, separator. One string costs ioredis less
 * than many values. Publishers do not know the separator, so nothing is escaped.
 */
export const READ: string = `${BASE}${REST}
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
  -- A user without the right to ask for it. Offsets have no holes.
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
  -- Renewed as long as clients read, but not with each read. A replica refuses it, and can still be read.
  local life, left = maxAge * 1.5 + 86400000, redis.pcall('PTTL', KEYS[1])
  if type(left) ~= 'number' or left >= 0 and left < life / 2 then redis.pcall('PEXPIRE', KEYS[1], text(life)) end
end
-- Events that are too old count as gone, even if nothing was published since.
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
    -- Another program has set the newest offset back: of two events at one offset, the later one counts.
    if tonumber(offset) == after and #found > 0 then found[#found], found[#found - 1] = nil, nil end
    after = tonumber(offset)
    push(found, id .. ' ' .. (string.match(values['end'], '^%a+$') or '') .. ' ' .. values.e, values.d)
    bytes = bytes + #values.d
    if bytes >= limit then break end
  end
  if #entries < wanted then break end
  count = count - wanted
  -- Small events come in larger steps; large ones never take the server for long.
  if bytes * 4 < limit then step = math.min(step * 2, 64) end
end
return reply()`;

/** ARGV: token, ms of the lease, epoch of a new log, ms for which the place of an empty log is remembered, now. */
export const CLAIM: string = `${BASE}${REST}
local got = redis.pcall('HMGET', KEYS[1], 'e', 'end', 'w', 'wt', 'o')
if isBroken(got, 1, 5) or isAlone(got, 1, 2, 3) then
  -- Another program wrote this hash. It must not become part of the new log.
  redis.call('DEL', KEYS[1])
  got = {}
elseif got.err then
  return got
end
got = values(got, 5)
local now = clock(ARGV[5])
if isEnding(got[2]) then return 'completed' end
if got[3] and got[3] ~= ARGV[1] then
  -- One that is gone is marked as such by whoever reads next.
  return now > (tonumber(got[4]) or 0) and 'completed' or 'taken'
end
if not isPlace(got[1], got[5]) then
  redis.call('HSET', KEYS[1], 'e', ARGV[3], 'o', '0')
  redis.call('DEL', KEYS[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('HSET', KEYS[1], 'k', '1', 'r', '0', 'w', ARGV[1], 'wt', text(now + tonumber(ARGV[2])))
return 'ok'`;

/** ARGV: token, ms of the lease, now. */
export const RENEW: string = `${BASE}${REST}
local got = fields('end', 'w')
if isEnding(got[1]) then return 'completed' end
if got[2] ~= ARGV[1] then return got[2] and 'taken' or 'lost' end
redis.call('HSET', KEYS[1], 'wt', text(clock(ARGV[3]) + tonumber(ARGV[2])))
-- However long it says nothing.
if redis.call('PTTL', KEYS[1]) < 90000000 then redis.call('PEXPIRE', KEYS[1], '90000000') end
return 'ok'`;
